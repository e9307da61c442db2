//! Models of mailboxes, notices and run places.

use super::*;
use crate::notice::Notice;
use corey_lib_sync::explore::{self, Bounds, Guarded};
use std::sync::Arc;

const OWNER: CoreId = CoreId(0);

fn message(kind: MessageKind, word: u64) -> Message {
    Message { kind, object: ObjectWords::NULL, words: [word; 2] }
}

pub(crate) fn mailbox(senders: usize) -> Arc<Mailbox> {
    let slots = explore::keep((0..senders).map(|_| Slot::default()).collect());
    Arc::new(Mailbox { pending: CachePadded::default(), slots })
}

fn core(number: usize) -> CoreId {
    CoreId(number as u16)
}

/// What follows a noted message is not taken for it: the answer frees the slot while the owner still goes through what
/// it noted.
#[test]
fn a_message_after_the_noted_one_is_read_by_itself() {
    explore::check_within(Bounds::SPINS, |threads| {
        let owner = mailbox(threads);
        explore::all(threads, move |number| {
            if number > 0 {
                for (kind, word) in [(MessageKind::Halt, 1), (MessageKind::Interval, 2)] {
                    let _ = owner.post(OWNER, core(number), message(kind, word));
                    let reply = loop {
                        match owner.poll(core(number)) {
                            Some(reply) => break reply,
                            None => explore::yield_now(),
                        }
                    };
                    assert_eq!(reply, 10 + word, "the answer to this one");
                }
                return;
            }
            let mut next = vec![1; threads];
            while next.iter().skip(1).any(|next| *next < 3) {
                for sender in owner.take().posts.iter() {
                    let next = &mut next[sender.index()];
                    let message = owner.read(sender).expect("its bit says so");
                    assert_eq!(message.words, [*next; 2], "one after the other");
                    // Noted, then looked at in two passes, as the kernel's exit does.
                    for _ in 0..2 {
                        if let Some(noted) = owner.reread(sender) {
                            assert_eq!(noted, message, "what was noted");
                            owner.answer(sender, 10 + *next);
                            *next += 1;
                        }
                    }
                }
                explore::yield_now();
            }
        });
    });
}

/// What the owner's processor has: an interrupt that is on its way, and what was found so far.
#[derive(Default)]
struct Found {
    posts: CoreSet,
    notices: CoreSet,
    run: bool,
}

/// Of senders, notifiers and a starter, at least the first interrupts the owner; whoever is told that no interrupt is
/// needed is in a turn that the owner makes anyway. What is found is whole.
#[test]
fn an_interrupt_or_a_turn_serves_everybody() {
    explore::check(|threads| {
        let (owner, notice) = (mailbox(threads), Arc::new(Notice::default()));
        let found = Arc::new(Guarded::new(Found::default()));
        let interrupt = Arc::new(AtomicU64::new(0));
        let look = {
            let (owner, found, notice) = (owner.clone(), found.clone(), notice.clone());
            move || {
                let Taken { posts, notices, run } = owner.take();
                for sender in posts.iter() {
                    let message = owner.read(sender).expect("its bit says so");
                    assert_eq!(message.words, [u64::from(sender.0); 2]);
                    owner.answer(sender, u64::from(sender.0) + 10);
                }
                for _ in notices.iter() {
                    assert_eq!(notice.get(), Some(message(MessageKind::Fence, 5)));
                }
                if run {
                    let place = owner.run_place();
                    assert_eq!((place.note(), place.word(0), place.word(1)), (3, 7, 8));
                    place.begin();
                }
                found.with(|found| {
                    found.posts.union(posts);
                    found.notices.union(notices);
                    assert!(!(found.run && run), "a run is found once");
                    found.run |= run;
                });
            }
        };
        let (all, bell, look_early) = (owner.clone(), interrupt.clone(), look.clone());
        let asked = explore::all(threads, move |number| {
            let interrupts = match (number, number % 3) {
                (0, _) => {
                    // Something interrupts for another reason.
                    look_early();
                    return true;
                }
                (1, _) => {
                    assert!(all.run_place().claim(), "it is idle");
                    all.run_place().put(3, [], &[7, 8]);
                    all.ring()
                }
                (2, _) => {
                    notice.set(message(MessageKind::Fence, 5));
                    all.notify(core(number))
                }
                _ => all.post(OWNER, core(number), message(MessageKind::Recheck, number as u64)).1,
            };
            if interrupts {
                bell.store(1, Ordering::Release);
            }
            interrupts
        });
        assert!(asked.iter().skip(1).any(|asked| *asked), "nobody interrupts the owner");
        if interrupt.load(Ordering::Acquire) == 1 {
            look();
        }
        found.with(|found| {
            assert!(found.run || threads < 2);
            assert_eq!(found.notices.contains(core(2)), threads > 2, "a notice was lost");
            assert_eq!(found.posts.iter().count(), threads.saturating_sub(3), "a message was lost");
        });
        for number in 3..threads {
            assert_eq!(owner.poll(core(number)), Some(number as u64 + 10));
        }
        assert!(!owner.run_place().claim(), "it runs");
        // All were looked at: who comes now interrupts, and who comes then does not.
        let last = message(MessageKind::Recheck, 0);
        assert_eq!((owner.post(OWNER, OWNER, last).1, owner.notify(OWNER)), (true, false));
    });
}

/// A core notifies another twice: each notice is served as it was written, and answered after that.
#[test]
fn a_notice_is_served_before_it_is_answered() {
    explore::check_within(Bounds::SPINS, |threads| {
        let owners: Vec<_> = (1..threads).map(|_| mailbox(1)).collect();
        let model = Arc::new((owners, Notice::default()));
        // By owner: what it has served.
        let served: Arc<Vec<_>> = Arc::new((1..threads).map(|_| Guarded::new(0)).collect());
        explore::all(threads, move |number| {
            let (owners, notice) = &*model;
            let sender = core(0);
            if number == 0 {
                for round in 1..=2 {
                    notice.set(message(MessageKind::Fence, round));
                    for owner in owners {
                        let _ = owner.notify(sender);
                    }
                    for (owner, served) in owners.iter().zip(served.iter()) {
                        while owner.is_odd(sender) != (round == 1) {
                            explore::yield_now();
                        }
                        served.look(|served| assert_eq!(*served, round, "answered before it was served"));
                    }
                }
                return;
            }
            let (owner, mut rounds) = (&owners[number - 1], 0);
            while rounds < 2 {
                for sender in owner.take().notices.iter() {
                    rounds += 1;
                    assert_eq!(notice.get(), Some(message(MessageKind::Fence, rounds)));
                    served[number - 1].with(|served| *served = rounds);
                    owner.noticed(sender);
                }
                explore::yield_now();
            }
        });
    });
}

/// A run place has one starter at a time, or it is dead: what is claimed is not killed, what is dead not claimed.
#[test]
fn a_run_place_is_claimed_or_dead() {
    explore::check(|threads| {
        let owner = mailbox(1);
        let alone = Arc::new(Guarded::new(0_u64));
        let ended = explore::all(threads, move |number| {
            let place = owner.run_place();
            if number == 0 {
                // Nobody else claims what it killed.
                let dead = place.kill();
                if dead {
                    alone.with(|runs| *runs += 1);
                    place.renew();
                }
                return dead;
            }
            let mine = place.claim();
            if mine {
                alone.with(|runs| *runs += 1);
                assert!(place.is_active() && !place.kill());
                place.unclaim();
            }
            mine
        });
        assert!(ended.into_iter().any(|ended| ended), "everybody was refused");
    });
}
