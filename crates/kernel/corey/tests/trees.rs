//! Random mappings, through the root and through an interior tree, against the reference model; a second core
//! looks through the same interior tree, and must see the same pages.

mod common;

use common::*;
use corey_abi::{Error, SegmentCalls};
use corey_test_model::{ModelMapping, ModelTree};
use proptest::prelude::*;

/// Pages of the window that mappings fall into.
const WINDOW: u64 = 40;
const SEGMENTS: usize = 3;
const VA: u64 = 0x6000_0000_0000;

#[derive(Clone, Copy, Debug)]
enum Step {
    Map(u64, ModelMapping),
    Clear(u64),
    Write(u64, u64),
    Resize(usize, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let map = (0..6_u64, 0..WINDOW, 1..9_u64, 0..SEGMENTS, 0..6_u64).prop_map(
        |(slot, at, npages, segment, start)| {
            let npages = npages.min(WINDOW - at);
            Step::Map(slot, ModelMapping { at, npages, segment, start })
        },
    );
    prop_oneof![
        4 => map,
        1 => (0..6_u64).prop_map(Step::Clear),
        6 => (0..WINDOW, 1..1000_u64).prop_map(|(at, value)| Step::Write(at, value)),
        1 => (0..SEGMENTS, 0..12_u64).prop_map(|(segment, pages)| Step::Resize(segment, pages)),
    ]
}

fn check(steps: Vec<Step>, through_interior: bool) -> Result<(), TestCaseError> {
    let booted = boot(2);
    let (different, model) = booted.on(0, move |user| {
        let first = start(user);
        let mut model = ModelTree::default();
        let segments: Vec<_> = (0..SEGMENTS).map(|_| segment(user, first.boot, 8).unwrap()).collect();
        (0..SEGMENTS).for_each(|_| model.segment(8));
        let inner = interior(user, first.boot).unwrap();
        link(user, first.tree, 100, inner, VA).unwrap();
        let (tree, base, slots) =
            if through_interior { (inner, 0, 0) } else { (first.tree, VA + (1 << 30), 200) };
        let seen = if through_interior { VA } else { base };
        for step in steps {
            match step {
                Step::Map(slot, m) => {
                    let mapping = corey_abi::Mapping {
                        kind: corey_abi::mapping_kind::SEGMENT,
                        flags: corey_abi::MapFlags::WRITE.bits(),
                        object: segments[m.segment],
                        va: base + m.at * 4096,
                        start_page: m.start,
                        npages: m.npages,
                        ..Default::default()
                    };
                    let at = put(user, &mapping);
                    let got =
                        corey_abi::AddressTreeCalls::at_set_slot(&mut user.sys(), tree, slots + slot, at);
                    let wanted = if model.map(slot, m) { Ok(()) } else { Err(Error::Busy) };
                    if got != wanted {
                        return (Some(format!("{step:?}: {got:?}, wanted {wanted:?}")), model);
                    }
                }
                Step::Clear(slot) => {
                    clear(user, tree, slots + slot).unwrap();
                    model.clear(slot);
                }
                Step::Write(at, value) => {
                    // A write that would fault would end the program: the model says which would.
                    if model.write(at, value) {
                        user.write(seen + at * 4096, value).unwrap();
                    }
                }
                Step::Resize(segment, pages) => {
                    user.sys().segment_set_nbytes(segments[segment], pages * 4096).unwrap();
                    model.resize(segment, pages);
                }
            }
            for at in 0..WINDOW {
                if let Some(wanted) = model.read(at) {
                    let got = user.read(seen + at * 4096).unwrap();
                    if got != wanted {
                        return (Some(format!("{step:?}: page {at} reads {got}, wanted {wanted}")), model);
                    }
                }
            }
        }
        let made = thread(user, first.boot, 1).unwrap();
        link(user, made.tree, 1, inner, VA).unwrap();
        run(user, made, &[]).unwrap();
        (None, model)
    });
    prop_assert_eq!(different, None);
    if through_interior {
        let wrong = booted.on(1, move |user| {
            (0..WINDOW)
                .find(|at| model.read(*at).is_some_and(|wanted| user.read(VA + at * 4096) != Ok(wanted)))
        });
        prop_assert_eq!(wrong, None, "the other core sees another page");
    }
    audit(&booted);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_root_maps_as_the_model(steps in proptest::collection::vec(step(), 1..60)) {
        check(steps, false)?;
    }

    #[test]
    fn an_interior_tree_maps_as_the_model(steps in proptest::collection::vec(step(), 1..60)) {
        check(steps, true)?;
    }
}
