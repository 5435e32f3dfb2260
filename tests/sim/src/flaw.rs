//! Nodes that are wrong on purpose. The simulator must find each of them within a few seeds; a simulator that finds
//! nothing proves nothing.

/// A rule that every honest node of a world breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Of two histories it keeps the one that came first, and says nothing of the other.
    KeepsFirstHistory,
    /// It takes the acceptance that it saw first for the one that counts.
    WinnerByArrival,
    /// After a crash it goes on from an old copy of its disk, and asks nobody whether more was written.
    RestoresOldCopy,
    /// Its user pays as soon as the funding is seen, not when it is buried.
    PaysBeforeBuried,
    /// It does not look at who signed a fact: anybody's cancellation counts.
    TrustsStrangers,
    /// It tells nobody for a quarter of an hour that a log has forked, and does not answer who asks for the proof.
    HidesForks,
    /// It never heals what gossip lost.
    NeverHeals,
    /// It lets everybody's offers stand as if a coin spoke for him.
    NoQuota,
    /// It keeps no mail for others.
    KeepsNoMail,
    /// It parks mail of unknown trades without end.
    ParksWithoutEnd,
    /// It drops old bodies without a look whether anybody agreed on them.
    ForgetsAgreements,
    /// It does not look at who signed a ruling.
    TrustsAnyRuling,
    /// It completes no ruling that is in its user's favour.
    LeavesRulings,
    /// Its wallet sets no coins aside: what is promised to one trade it brings into another.
    SetsNothingAside,
}

impl Flaw {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::KeepsFirstHistory,
        Self::WinnerByArrival,
        Self::RestoresOldCopy,
        Self::PaysBeforeBuried,
        Self::TrustsStrangers,
        Self::HidesForks,
        Self::NeverHeals,
        Self::NoQuota,
        Self::KeepsNoMail,
        Self::ParksWithoutEnd,
        Self::ForgetsAgreements,
        Self::TrustsAnyRuling,
        Self::LeavesRulings,
        Self::SetsNothingAside,
    ];
}
