//! The steps of a side: what is owed at each, and what comes again, too often or too late.

use super::*;

#[test]
fn a_side_that_asks_again_and_again_is_heard_so_often_and_no_more() {
    let (mut seller, mut buyer) = both_willing();
    seller.duties();
    for number in 0..u64::from(MAX_PROPOSALS) + 3 {
        let mut proposal = seller.proposals[0].clone();
        proposal.feerate = 10 + number;
        buyer.step(Event::Proposal(proposal));
        buyer.duties();
        buyer.duties();
    }
    assert_eq!(buyer.signed.len(), usize::from(MAX_PROPOSALS));
    assert_eq!(buyer.refused.last(), Some(&FundingError::TooManyProposals));
    let mine: Vec<_> = buyers().outpoints();
    for tx in &buyer.signed {
        assert!(mine.iter().all(|coin| tx.input.iter().any(|input| input.previous_output == *coin)));
    }
    // The seller does not ask again at once either.
    seller.step(Event::Fund { feerate: 10 });
    assert_eq!(seller.refused, [FundingError::Outstanding]);
    seller.now.tip += PROPOSAL_AGE;
    seller.step(Event::Fund { feerate: 10 });
    assert_eq!(seller.refused.len(), 1);
}

#[test]
fn mail_that_comes_again_changes_nothing() {
    let (mut seller, mut buyer) = both_willing();
    seller.duties();
    let first = seller.proposals.pop().unwrap();
    let second = Proposal { height: TIP - 1, ..first.clone() };
    for proposal in [&first, &second, &first, &second, &first] {
        buyer.step(Event::Proposal(proposal.clone()));
        buyer.duties();
        buyer.duties();
    }
    assert_eq!((buyer.signed.len(), buyer.answers.len()), (2, 2));
    assert_eq!(buyer.answers[1].proposal, second.id());
}

/// What the chain says of a side's coins: all there.
fn all_unspent(theirs: &Funder) -> Event {
    let states = theirs.contribution.inputs.iter().zip(theirs.values.iter());
    let states = states.map(|(coin, value)| InputState::Unspent {
        output: TxOut { value: (*value).into(), script_pubkey: coin.script() },
        ours: false,
    });
    Event::Looked { theirs: theirs.contribution.clone(), states: states.collect(), highest: HIGHEST }
}

#[test]
fn a_negotiation_shows_how_far_it_is() {
    let shown = |state: &Negotiation| {
        let [proposed, answered] = [state.is_proposed(), state.is_answered()];
        [state.is_willing(), state.has_chosen(), proposed, answered, state.may_confirm(), state.has_ended()]
    };
    let mut buyer = Side::new(Role::Buyer);
    let proposal = Proposal { feerate: 10, height: TIP, seller: sellers().contribution };
    let mut seen = vec![shown(&buyer.state)];
    for event in [Event::Fund { feerate: 10 }, Event::Proposal(proposal.clone()), all_unspent(&sellers())] {
        buyer.state.handle(&buyer.terms, OPEN, event).unwrap();
        seen.push(shown(&buyer.state));
    }
    let chosen = Event::Chosen { mine: buyers(), feerate: 10 };
    let asked = buyer.state.handle(&buyer.terms, OPEN, chosen).unwrap();
    seen.push(shown(&buyer.state));
    let [Effect::Sign(draft)] = asked.as_slice() else { panic!("{asked:?}") };
    let signed = sign(draft, Role::Buyer);
    buyer.state.handle(&buyer.terms, OPEN, Event::Signed(signed.clone())).unwrap();
    seen.push(shown(&buyer.state));
    assert!(buyer.state.has_signed(&signed.compute_txid()) && !buyer.state.has_signed(&outpoint(9).txid));
    assert_eq!(buyer.state.gives_up_at(), Some(TIP + PATIENCE));
    buyer.state.handle(&buyer.terms, OPEN, Event::Ended).unwrap();
    seen.push(shown(&buyer.state));
    let [t, f] = [true, false];
    assert_eq!(
        seen,
        [
            [f, f, f, f, f, f],
            [t, f, f, f, f, f],
            [t, f, t, f, f, f],
            [t, f, t, f, f, f],
            [t, t, t, f, f, f],
            [t, t, t, t, t, f],
            [t, t, t, t, t, t]
        ]
    );
}

/// Each side at each of its steps: what comes when the trade is off, the chain not known, the funding seen or all at an end.
#[test]
fn what_comes_too_late_changes_nothing() {
    let proposal = Proposal { feerate: 10, height: TIP, seller: sellers().contribution };
    let (off, blind, seen) = (Now { open: false, ..OPEN }, Now { synced: false, ..OPEN }, Now { seen: true, ..OPEN });
    let nothing = Ok(vec![]);
    let unexpected = Err(FundingError::Unexpected);
    let check = |side: &Side, now: Now, event: &Event, expected: &Result<Vec<Effect>, FundingError>| {
        let mut state = side.state.clone();
        assert_eq!(state.handle(&side.terms, now, event.clone()), *expected, "{now:?} {event:?}");
        assert_eq!(state, side.state, "{now:?} {event:?}");
    };
    let ended = |side: &Side| {
        let mut ended = Side::new(side.terms.role);
        ended.state = side.state.clone();
        ended.state.handle(&side.terms, OPEN, Event::Ended).unwrap();
        ended
    };
    let go_on = |side: &mut Side, event: &Event| side.state.handle(&side.terms, OPEN, event.clone()).unwrap();
    let mut buyer = Side::new(Role::Buyer);
    go_on(&mut buyer, &Event::Proposal(proposal.clone()));
    check(&buyer, OPEN, &all_unspent(&sellers()), &nothing); // his user has not agreed
    go_on(&mut buyer, &Event::Fund { feerate: 10 });
    let looked = all_unspent(&sellers());
    check(&buyer, off, &looked, &nothing);
    check(&buyer, blind, &looked, &nothing);
    check(&ended(&buyer), OPEN, &looked, &nothing);
    check(&ended(&buyer), OPEN, &Event::Proposal(Proposal { feerate: 9, ..proposal.clone() }), &unexpected);
    check(&ended(&buyer), OPEN, &Event::Fund { feerate: 10 }, &Err(FundingError::Signed));
    check(&buyer, OPEN, &Event::Fund { feerate: 10 }, &Err(FundingError::Outstanding));
    go_on(&mut buyer, &looked);
    let chosen = Event::Chosen { mine: buyers(), feerate: 10 };
    check(&buyer, off, &chosen, &unexpected);
    check(&ended(&buyer), OPEN, &chosen, &unexpected);
    let asked = go_on(&mut buyer, &chosen);
    let [Effect::Sign(draft)] = asked.as_slice() else { panic!("{asked:?}") };
    let signed = Event::Signed(sign(draft, Role::Buyer));
    check(&buyer, off, &signed, &unexpected);
    check(&buyer, seen, &signed, &unexpected);
    check(&ended(&buyer), OPEN, &signed, &unexpected);
    go_on(&mut buyer, &signed);
    check(&buyer, OPEN, &signed, &Err(FundingError::Signed));
    check(&buyer, OPEN, &looked, &nothing); // what is signed is signed
    let answer = buyer.state.duties(&buyer.terms, OPEN).into_iter().find_map(|effect| match effect {
        Effect::SendAnswer(answer) => Some(Event::Answer(answer)),
        _ => None,
    });
    let answer = answer.unwrap();
    check(&buyer, OPEN, &answer, &unexpected);

    let mut seller = Side::new(Role::Seller);
    check(&seller, OPEN, &answer, &unexpected); // he proposed nothing
    let chosen = Event::Chosen { mine: sellers(), feerate: 10 };
    check(&seller, off, &chosen, &unexpected);
    check(&ended(&seller), OPEN, &chosen, &unexpected);
    go_on(&mut seller, &chosen);
    check(&seller, OPEN, &Event::Fund { feerate: 10 }, &Err(FundingError::Outstanding));
    check(&seller, OPEN, &Event::Proposal(proposal), &unexpected);
    check(&ended(&seller), OPEN, &answer, &unexpected);
    go_on(&mut seller, &answer);
    let looked = all_unspent(&buyers());
    check(&seller, off, &looked, &nothing);
    check(&seller, blind, &looked, &nothing);
    check(&ended(&seller), OPEN, &looked, &nothing);
    let asked = go_on(&mut seller, &looked);
    let [Effect::Sign(draft)] = asked.as_slice() else { panic!("{asked:?}") };
    let signed = Event::Signed(sign(draft, Role::Seller));
    check(&seller, off, &signed, &unexpected);
    check(&seller, seen, &signed, &unexpected);
    check(&ended(&seller), OPEN, &signed, &unexpected);
    let done = go_on(&mut seller, &signed);
    assert!(matches!(done.as_slice(), [Effect::Complete(_)]), "{done:?}");
    check(&seller, OPEN, &signed, &Err(FundingError::Signed));
    check(&seller, OPEN, &looked, &nothing);
    check(&seller, OPEN, &answer, &unexpected);
    let later = Now { tip: TIP + PROPOSAL_AGE, ..OPEN };
    check(&seller, later, &chosen, &Err(FundingError::Signed));

    let arbiter = Side::new(Role::Arbiter);
    for event in [Event::Fund { feerate: 10 }, chosen, answer] {
        check(&arbiter, OPEN, &event, &unexpected);
    }
}

#[test]
fn a_message_is_owed_until_it_is_in_the_mail() {
    let mut seller = Side::new(Role::Seller);
    let chosen = Event::Chosen { mine: sellers(), feerate: 10 };
    seller.state.handle(&seller.terms, OPEN, chosen).unwrap();
    let owed = seller.state.duties(&seller.terms, OPEN);
    let [Effect::SendProposal(proposal)] = owed.as_slice() else { panic!("{owed:?}") };
    seller.state.handle(&seller.terms, OPEN, Event::Sent).unwrap();
    assert!(seller.state.duties(&seller.terms, OPEN).is_empty());
    let mut buyer = Side::new(Role::Buyer);
    buyer.step(Event::Fund { feerate: 10 });
    buyer.step(Event::Proposal(proposal.clone()));
    buyer.duties();
    let owed = |side: &Side| {
        let duties = side.state.duties(&side.terms, OPEN);
        duties.iter().filter(|effect| matches!(effect, Effect::SendAnswer(_))).count()
    };
    assert_eq!(owed(&buyer), 1);
    buyer.state.handle(&buyer.terms, OPEN, Event::Sent).unwrap();
    assert_eq!(owed(&buyer), 0);
}

#[test]
fn nothing_is_owed_where_all_is_seen_or_at_an_end_and_what_is_owed_is_only_looked_up() {
    let (mut seller, mut buyer) = both_willing();
    negotiate(&mut |_, _| {}, &mut seller, &mut buyer);
    for side in [&mut seller, &mut buyer] {
        let late = Now { tip: TIP + PATIENCE, ..OPEN };
        let owed = side.state.duties(&side.terms, late);
        let looks = owed.iter().filter(|effect| matches!(effect, Effect::LookUp(_))).count();
        let calls_off = usize::from(side.terms.role == Role::Buyer);
        assert_eq!((looks, owed.len()), (1, 1 + calls_off), "{owed:?}");
        for open in [true, false] {
            let owed = side.state.duties(&side.terms, Now { owed: true, open, ..late });
            assert!(matches!(owed.as_slice(), [Effect::LookUp(_)]), "{owed:?}");
        }
        for now in [Now { seen: true, ..late }, Now { synced: false, ..late }] {
            assert!(side.state.duties(&side.terms, now).is_empty(), "{now:?}");
            let off = Now { open: false, ..now };
            assert!(side.state.duties(&side.terms, off).is_empty(), "{off:?}");
        }
        side.state.handle(&side.terms, OPEN, Event::Ended).unwrap();
        for open in [true, false] {
            assert!(side.state.duties(&side.terms, Now { open, ..late }).is_empty());
        }
    }
}
