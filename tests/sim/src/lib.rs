//! The simulator: what the protocol does under troubles worse, and in networks larger, than tests on real processes reach.
//! `make sim SEEDS=n SEED_START=first`; everything that happens follows from a seed.
//!
//! **A world** ([`world`]) is three to thirteen nodes with their people, a network and a chain. Each node is the real core:
//! `Ledger`, `Book`, the sync sessions and the machine of each trade, the pins of one's own trades and the retention of
//! bodies, over a disk that can fill up and lose power at any write. The simulator stands in for what is around the core,
//! and takes the decisions of the node's drivers in the same order under the same conditions. Time is virtual: half an hour,
//! some months and a month of blocks pass in milliseconds. Half of the nodes keep everything, the others forget what is some
//! months old. People sell to each other, in every other world also for bonds, which two wallets fund together; one person
//! rules when they disagree, and in every other world a second one, who sells and buys too.
//!
//! **Troubles**: messages lost and late, links cut, the network divided, nodes that come late, go and return, killed in the
//! middle of a write and between effects, disks full, disks replaced by an old copy, clocks hours off, months in which nobody
//! says anything, blocks taken back, pools that contradict themselves; people who change their mind, stay away or lie about
//! what they paid; arbiters who stay away or want more time; attackers who sign two or seventy histories, soon or late, to
//! some peers only, who meddle with the trades of others, rule in them, send rubbish, records, mail, proofs and messages of
//! fundings, flood, bid as a crowd of identities that they made up, backdate logs, show of records that they look too old to
//! be kept, spend coins twice; a victim that knows one honest node among attackers who say nothing.
//!
//! **What must hold** ([`checks`]), after every step: an honest author has one history; a fork only falls and its frozen
//! records stay within bounds; no honest node bans another; an honest maker accepts once, and what binds; what counts in a
//! trade was signed by whom it belongs to, arbiters among them; an honest seller funds once, what is on his disk, and loses
//! coins only to a buyer who has paid; nobody honest pays for an escrow that is not buried, or a seller of whom his node
//! knows two histories, or brings a coin into two trades; no satoshi comes or goes; coins that are divided are divided as
//! an arbiter of that trade has ruled, who gets his fee of it, and nobody honest loses by it what he had a right to; of
//! payout and refund each has his bond; queues, parked and kept mail, and what one author has in a book stay within bounds;
//! who forgets can tell of every agreement that he could tell of before.
//!
//! Three minutes after trouble each honest node can prove every fork that one of them knew of by then. After healing, within a
//! bounded time: all honest nodes hold the same, also one that came when everything was old and learned it from one who
//! forgets and one who does not; it is the same as the set of all records gives in one go; books, winners and agreements are
//! the same, as are the pins of one's own trades; a book is what its ledger says; bodies are held as long as each says, and
//! longer only if they are needed; and who agreed with an honest person has his payment details. At the end: no honest
//! person's coins are stuck in an escrow or set aside in his wallet, and who paid has the coins, if the
//! seller is honest or a node of an arbiter can see what was agreed.
//!
//! **That it can fail** is a test: each [`flaw`] must be found within a few seeds.
//!
//! | file | idea |
//! |---|---|
//! | [`world`], [`shared`] | events and ages; what every event can reach |
//! | [`faults`] | what breaks |
//! | [`node`], [`heal`], [`retention`], [`mailbox`] | an honest node: its keeper, its sync, what it forgets, its mail |
//! | [`trader`], [`effects`], [`joint`], [`wallet`] | its trader: what it hears and does; fundings from two wallets; its wallet |
//! | [`user`], [`arbiter`] | its user, who trades, and one who rules |
//! | [`mischief`], [`flaw`] | what attackers do; rules that honest nodes can be made to break |
//! | [`disk`], [`network`], [`chain`], [`people`] | what is simulated |
//! | [`checks`] | what must hold |
//! | [`run`], [`trace`] | many seeds; what happened before a failure |
//! | [`agenda`], [`rng`] | virtual time, and chance |
//! | [`gossip`] | a thousand nodes and one question: how fast, and how often (figure `propagation`) |
//!
//! A failure prints the rule, the last events, and the command that shows it again.

pub mod agenda;
pub mod arbiter;
pub mod chain;
pub mod checks;
pub mod disk;
pub mod effects;
pub mod faults;
pub mod flaw;
pub mod gossip;
pub mod heal;
pub mod joint;
pub mod mailbox;
pub mod mischief;
pub mod network;
pub mod node;
pub mod people;
pub mod retention;
pub mod rng;
pub mod run;
pub mod shared;
pub mod trace;
pub mod trader;
pub mod user;
pub mod wallet;
pub mod world;
