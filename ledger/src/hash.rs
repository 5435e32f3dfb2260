//! The one way this protocol hashes: SHA-256 over a domain separator and fixed-size or length-prefixed parts.

use sha2::{Digest, Sha256};

/// Returns SHA-256 of `domain` followed by `parts`, concatenated. Callers pass parts of fixed size, or one variable part
/// last, so that no two inputs collide by shifting a boundary. All domains stand in the table of `specs/README.md`.
pub fn tagged(domain: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(domain.as_bytes());
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    const SPEC: &str = include_str!("../../specs/README.md");

    /// Returns each separator of the specification with its use.
    fn specified() -> Vec<(&'static str, &'static str)> {
        let (_, section) = SPEC.split_once("\n## Domain separators\n").unwrap();
        let (section, _) = section.split_once("\n## ").unwrap();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        let cells = rows.map(|row| {
            let (separator, rest) = row.split_once("` | ").unwrap();
            (separator, rest.split_once(" | ").unwrap().0)
        });
        cells.collect()
    }

    /// Tells whether a text is the protocol's name, a purpose and a version.
    fn is_separator(text: &str) -> bool {
        let is_version =
            |part: &str| part.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        let of_protocol = text.strip_prefix("exchange/").filter(|rest| !rest.contains(char::is_whitespace));
        of_protocol.is_some_and(|rest| rest.split('/').any(is_version))
    }

    /// Collects what the code in a folder has between quotes and is a separator. Test vectors may have others.
    fn collect(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("vectors") {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.extend(text.split('"').filter(|text| is_separator(text)).map(str::to_owned));
            }
        }
    }

    #[test]
    fn the_specification_lists_every_separator_and_no_other() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut found = BTreeSet::new();
        ["ledger/src", "node/src"].iter().for_each(|folder| collect(&root.join(folder), &mut found));
        let listed: BTreeSet<String> = specified().into_iter().map(|(separator, _)| separator.to_owned()).collect();
        assert_eq!(found, listed);
    }

    #[test]
    fn no_separator_begins_another_of_its_use() {
        let all = specified();
        for (at, (one, used)) in all.iter().enumerate() {
            let others = all.iter().enumerate().filter(|(other, (_, its_use))| *other != at && its_use == used);
            for (_, (other, _)) in others {
                assert!(!other.starts_with(one), "{one} and {other} as {used}");
            }
        }
    }
}
