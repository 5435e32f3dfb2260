//! A group of arbiters, made as its members' programs make it.

use zeroize::Zeroizing;

use crate::body::{Body, GroupStep, GroupTerms};
use crate::frost::Session;
use crate::group::{Group, Outlook, Part, Secrets, Standing};
use crate::ids::RecordId;
use crate::record::Record;
use crate::testing::{Author, list, sample_advert};
use crate::trade::{Contract, arbiter_tweak};
use crate::wire::CurveSignature;

/// A group whose members are authors 11 on, in the order of their keys; the first of them proposed it.
pub struct SampleGroup {
    /// Who.
    pub members: Vec<Author>,
    /// Every step, in an order in which each can be let in.
    pub records: Vec<Record>,
    /// The group's advert.
    pub advert: Record,
    /// Each member's part.
    pub parts: Vec<Part>,
}

/// Returns what an author's part in a group follows from: 32 bytes of his number and 1, 2 and 3 added to 150.
pub fn group_secrets(number: u8) -> Secrets {
    let secret = |offset: u8| Zeroizing::new([number.wrapping_add(150 + offset); 32]);
    Secrets { seed: secret(1), seal: secret(2), part: secret(3) }
}

impl SampleGroup {
    /// Makes a group of `threshold` of `count`.
    pub fn new(threshold: u8, count: u8) -> Self {
        let (mut members, numbers) = people(count);
        let proposal = Body::GroupStep(GroupStep::Propose(terms(threshold, &members)));
        let proposal = members[0].write(&proposal);
        let mut records = vec![proposal.clone()];
        let group = Group::gather(&proposal, &records).expect("it is a proposal");
        for (member, number) in members.iter_mut().zip(&numbers) {
            let join = group_secrets(*number).join(&group, &member.id()).expect("he is a member");
            records.push(member.write(&Body::GroupStep(GroupStep::Join(join))));
        }
        let mut advert = None;
        loop {
            let (mut parts, mut is_ready) = (Vec::new(), true);
            let before = records.len();
            for (member, number) in members.iter_mut().zip(&numbers) {
                let group = Group::gather(&proposal, &records).expect("it is a proposal");
                let outlook = look(&group, member, *number);
                is_ready &= outlook.standing == Standing::Ready;
                if let Some(owed) = &outlook.owed {
                    let record = member.write(owed);
                    if matches!(owed, Body::GroupAdvert(_)) {
                        advert = Some(record.clone());
                    }
                    records.push(record);
                }
                parts.extend(outlook.part);
            }
            match (&advert, is_ready && records.len() == before) {
                (Some(advert), true) => return Self { members, records, advert: advert.clone(), parts },
                (None, true) => unreachable!("whoever proposed a group advertises it"),
                (_, false) => assert!(records.len() > before, "somebody always owes the next step"),
            }
        }
    }

    /// Signs what an arbiter signs in a contract, as two of the members do together; their nonces are drawn from small numbers.
    pub fn sign(&self, contract: &Contract, signers: [usize; 2], digests: &[[u8; 32]]) -> Vec<CurveSignature> {
        let tweak = arbiter_tweak(contract, contract.arbiter.key);
        let shares =
            signers.map(|at| self.parts[at].share.tweaked(&tweak).expect("a hash never cancels its own input"));
        let sign = |(number, digest): (u8, &[u8; 32])| {
            let nonces = shares.each_ref().map(|it| it.commit(&[it.place() + 90 + number; 32]).expect("nonces"));
            let commitments = shares.iter().zip(&nonces).map(|(it, nonces)| (it.place(), nonces.commitments()));
            let session = Session { message: *digest, commitments: commitments.collect() };
            let signed = shares
                .iter()
                .zip(nonces)
                .map(|(it, nonces)| (it.place(), it.sign(nonces, &session).expect("the session names these nonces")));
            shares[0].group().aggregate(&session, &signed.collect()).expect("both shares are good")
        };
        (0..).zip(digests).map(sign).collect()
    }

    /// Returns the id.
    pub fn id(&self) -> RecordId {
        self.records[0].id()
    }
}

/// Returns authors 11 on, in the order of their keys, and their numbers.
pub(crate) fn people(count: u8) -> (Vec<Author>, Vec<u8>) {
    let mut people: Vec<(Author, u8)> = (11..11 + count).map(|number| (Author::new(number), number)).collect();
    people.sort_by_key(|(author, _)| author.id());
    people.into_iter().unzip()
}

/// Returns what a group is proposed on.
pub(crate) fn terms(threshold: u8, members: &[Author]) -> GroupTerms {
    let advert = sample_advert(&members[0]);
    GroupTerms {
        threshold,
        members: list(members.iter().map(Author::id).collect()),
        name: advert.name,
        fee_ppm: advert.fee_ppm,
        destination: advert.destination,
        max_amount: advert.max_amount,
        languages: advert.languages,
        currencies: advert.currencies,
        terms: advert.terms,
    }
}

/// Looks at a group as one of its members; each seal is by 32 bytes of his number.
pub(crate) fn look(group: &Group, member: &Author, number: u8) -> Outlook {
    let sign = |bytes: &[u8]| member.sign_bytes(bytes);
    let outlook = group.outlook(&member.id(), &group_secrets(number), sign, &mut || [number; 32]);
    outlook.expect("he is a member")
}
