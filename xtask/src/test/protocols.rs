//! Mistakes in the protocols between cores, and the models that must notice (`docs/protocols-checked.md`).

use super::super::models::Checker::{Loom, Shuttle};
use super::{Mutant, Watch::Model};

const RWLOCK: &str = "crates/lib/sync/src/rwlock.rs";
const SHARED: &str = "crates/lib/sync/src/shared.rs";
const EPOCH: &str = "crates/kernel/percore/src/epoch.rs";
const MAILBOX: &str = "crates/kernel/percore/src/mailbox.rs";
const LOCAL: &str = "crates/kernel/percore/src/local.rs";
const PLACE: &str = "crates/kernel/percore/src/run_place.rs";
const MEMORY: &str = "crates/kernel/mem/src/memory.rs";
const PAGE: &str = "crates/kernel/mem/src/page.rs";
const COUNT: &str = "crates/kernel/mem/src/shared.rs";
const HEADER: &str = "crates/kernel/object/src/header.rs";
const LIMBO: &str = "crates/kernel/object/src/limbo.rs";
const LINK: &str = "crates/kernel/object/src/link.rs";
const SHARE: &str = "crates/kernel/share/src/share.rs";
const FAULT: &str = "crates/kernel/atree/src/fault.rs";
const REVOKE: &str = "crates/kernel/atree/src/revoke.rs";
const RUN: &str = "crates/kernel/atree/src/run.rs";
const COPY: &str = "crates/kernel/segment/src/copy.rs";
const HALT: &str = "crates/kernel/pcore/src/calls.rs";
const WAITING: &str = "crates/kernel/corey/src/waiting.rs";
const INBOX: &str = "crates/libos/heap/src/inbox.rs";
const TENURE: &str = "crates/libos/heap/src/tenure.rs";
const CONTENT: &str = "crates/libos/cache/src/content.rs";
const POOL: &str = "crates/libos/cache/src/pool.rs";
const TREE: &str = "crates/libos/cache/src/tree.rs";
const LIFE: &str = "crates/libos/cache/src/life.rs";
const EVICT: &str = "crates/libos/cache/src/evict.rs";
const CLIENT: &str = "crates/libos/cache/src/client.rs";
const WORDS: &str = "crates/lib/ring/src/words.rs";
const SHAPE: &str = "crates/lib/ring/src/shape.rs";
const SUBMIT: &str = "crates/lib/ring/src/submit.rs";
const CONSUME: &str = "crates/lib/ring/src/consume.rs";

const SYNC: &str = "corey-lib-sync";
const PERCORE: &str = "corey-kernel-percore";
const MEM: &str = "corey-kernel-mem";
const SEGMENT: &str = "corey-kernel-segment";
const SHARES: &str = "corey-kernel-share";
const ATREE: &str = "corey-kernel-atree";
const COREY: &str = "corey-kernel-corey";
const HEAP: &str = "corey-libos-heap";
const CACHE: &str = "corey-libos-cache";
const RING: &str = "corey-lib-ring";

const READERS: &str = "rwlock::models::plain_readers_see_whole_values";
const GUARDS: &str = "shared::models::one_guard_at_a_time";
const REUSE: &str = "epoch::models::no_reuse_under_a_reader";
const NOTED: &str = "mailbox::models::a_message_after_the_noted_one_is_read_by_itself";
const NOTICE: &str = "mailbox::models::a_notice_is_served_before_it_is_answered";
const TURN: &str = "mailbox::models::an_interrupt_or_a_turn_serves_everybody";
const CLAIMED: &str = "mailbox::models::a_run_place_is_claimed_or_dead";
const FRAMES: &str = "models::a_frame_is_had_by_one_at_a_time";
const PARTED: &str = "models::a_page_shared_by_copies_is_parted_once";
const OWNED: &str = "models::a_page_that_is_kept_and_shared_anew_is_counted";
const LET_GO: &str = "models::what_is_pinned_is_let_go_while_a_cut_is_tried";
const CUT_OFF: &str = "models::what_is_touched_while_it_is_cut_off_ends_with_its_segment";
const FOUND: &str = "models::what_is_found_stays_until_its_finder_leaves";
const REFERENCE: &str = "models::a_reference_is_added_unless_there_is_none";
const FILLED: &str = "models::what_was_taken_is_not_filled_again";
const LINKED: &str = "models::a_tree_that_ends_is_linked_by_nobody";
const HALTED: &str = "models::cores_that_halt_each_other_all_return";
const WOKEN: &str = "models::who_waits_for_a_change_is_woken";
const SENT: &str = "inbox::models::a_batch_is_taken_while_others_are_sent";
const HOME: &str = "heap::models::what_consumers_free_comes_home_whoever_ends_first";
const HAD: &str = "heap::models::a_heap_whose_thread_ended_is_had_by_one_at_a_time";
const SEEN_WHOLE: &str = "models::a_reader_sees_one_write_whole";
const PARTS: &str = "models::parts_that_are_written_at_once_are_all_there";
const HAD_BY_ONE: &str = "models::a_free_block_is_had_by_one";
const REMOVED: &str = "models::what_is_removed_goes_with_its_last_holder";
const KEPT: &str = "models::what_is_written_while_a_file_is_cut_stays";
const GROWN: &str = "models::a_tree_that_two_grow_has_both_blocks";
const FETCHED: &str = "models::what_is_fetched_is_what_was_written_last";
const EVICTED: &str = "models::what_was_evicted_comes_back_as_it_was_written";
const CALLED: &str = "models::calls_and_results_arrive_whole_once_and_in_order";
const ROUND: &str = "models::a_ring_goes_round";
const IN_FLIGHT: &str = "models::calls_in_flight_together_are_answered_in_order";
const RUNG: &str = "models::no_wake_up_is_lost";
const RUNG_AGAIN: &str = "models::who_sleeps_again_is_woken_again";
const REWRITTEN: &str = "models::what_is_rewritten_while_it_is_read_is_one_of_both";
const ENDING: &str = "models::what_was_answered_before_the_end_is_taken_before_it";
/// Whole kernels.
const TAKEN: &str = "a_page_is_taken_from_cores_that_come_and_go";
const CUT: &str = "a_shootdown_ends_whoever_is_halted_meanwhile";
const ENDED: &str = "cores_that_halt_each_other_all_end";
const LOST: &str = "no_wake_up_is_lost";
const SIDES: &str = "sides_that_break_a_page_at_once_part_for_good";
const LOOKED: &str = "who_looks_up_what_is_deleted_finds_it_whole_or_not";

const FENCED: &str = "        fence(Ordering::SeqCst);\n    }\n}\nimpl Mode for Plain {}";
const UNFENCED: &str = "    }\n}\nimpl Mode for Plain {}";
const READ: &str = "    pub fn leave(reading: &AtomicU32) {\n        reading.store(0, Ordering::Release);";
const READ_RELAXED: &str =
    "    pub fn leave(reading: &AtomicU32) {\n        reading.store(0, Ordering::Relaxed);";
const SERVED: &str = "        for sender in notices.iter() {\n";
const ANSWERED_FIRST: &str = "        for sender in notices.iter() {\n            mailbox.noticed(sender);\n";
const UNLOCK: &str = "holder.store(FREE, Ordering::Release)";
const UNLOCK_RELAXED: &str = "holder.store(FREE, Ordering::Relaxed)";
const LEFT: &str = "self.0.store(now + 1, Ordering::Release);";
const LEFT_RELAXED: &str = "self.0.store(now + 1, Ordering::Relaxed);";
const PASSED: &str = "snapshot.0 & 1 == 0 ||";
const LEAF_LOCK: &str = "let _guard = LOCKED.then(|| ctx";
const NO_LEAF_LOCK: &str = "let _guard = false.then(|| ctx";
const WORD: &str = "if u64::from_le_bytes(word) != value {";
const NO_WORD: &str = "if u64::from_le_bytes(word) != value && value > 9 {";

pub(super) const PROTOCOLS: &[Mutant] = &[
    ("model: a reader without a fence", RWLOCK, FENCED, UNFENCED, Model(Loom, SYNC, READERS)),
    ("model: a reader that ends relaxed", RWLOCK, READ, READ_RELAXED, Model(Loom, SYNC, READERS)),
    (
        "model: a writer that looks once",
        RWLOCK,
        "while reading.load(Ordering::Acquire) != 0 {",
        "if reading.load(Ordering::Acquire) != 0 {",
        Model(Shuttle, SYNC, READERS),
    ),
    (
        "model: a reader that comes in before its writer went",
        RWLOCK,
        "let free = writer.load(Ordering::Acquire) == 0;",
        "let free = true;",
        Model(Shuttle, SYNC, "rwlock::models::forced_readers_see_whole_values"),
    ),
    (
        "model: a reader that sees no writer's words",
        RWLOCK,
        "let free = writer.load(Ordering::Acquire) == 0;",
        "let free = writer.load(Ordering::Relaxed) == 0;",
        Model(Loom, SYNC, "rwlock::models::a_reader_that_steps_back_comes_in_afterwards"),
    ),
    (
        "model: a refused reader that frees the slot",
        RWLOCK,
        ".then(|| Reader { lock: self, slot })",
        ".then_some(Reader { lock: self, slot })",
        Model(Shuttle, SYNC, "rwlock::models::a_slot_is_one_readers"),
    ),
    ("model: a lock that is opened relaxed", SHARED, UNLOCK, UNLOCK_RELAXED, Model(Loom, SYNC, GUARDS)),
    (
        "model: a lock that is not looked at again",
        SHARED,
        "if self.change(FREE, waiter.holder()) {",
        "self.change(FREE, waiter.holder());\n                {",
        Model(Shuttle, SYNC, GUARDS),
    ),
    ("model: an epoch that is left relaxed", EPOCH, LEFT, LEFT_RELAXED, Model(Loom, PERCORE, REUSE)),
    ("model: an epoch that is not waited for", EPOCH, PASSED, "true ||", Model(Shuttle, PERCORE, REUSE)),
    (
        "model: a snapshot without a fence",
        EPOCH,
        "        fence(Ordering::SeqCst);\n        Snapshot(",
        "        Snapshot(",
        Model(Loom, PERCORE, REUSE),
    ),
    (
        "model: a slot that is read after its answer",
        MAILBOX,
        "if slot.state.load(Ordering::Relaxed) != TAKEN {",
        "if slot.state.load(Ordering::Relaxed) == IDLE {",
        Model(Shuttle, PERCORE, NOTED),
    ),
    (
        "model: a message that is answered relaxed",
        MAILBOX,
        "slot.state.store(DONE, Ordering::Release);",
        "slot.state.store(DONE, Ordering::Relaxed);",
        Model(Loom, PERCORE, NOTED),
    ),
    (
        "model: a notice that is answered relaxed",
        MAILBOX,
        "(sender.index() % 64), Ordering::Release);",
        "(sender.index() % 64), Ordering::Relaxed);",
        Model(Loom, PERCORE, NOTICE),
    ),
    (
        "model: an interrupt for the second sender",
        MAILBOX,
        "fetch_or(1 << (base + at), Ordering::SeqCst) == 0",
        "fetch_or(1 << (base + at), Ordering::SeqCst) != 0",
        Model(Shuttle, PERCORE, TURN),
    ),
    (
        "model: a run that is rung relaxed",
        MAILBOX,
        "fetch_or(RUN, Ordering::SeqCst) == 0",
        "fetch_or(RUN, Ordering::Relaxed) == 0",
        Model(Loom, PERCORE, TURN),
    ),
    (
        "model: a place that is claimed in two steps",
        PLACE,
        "        self.take(STARTING)",
        "        self.state.load(Ordering::SeqCst) == IDLE && {\n            self.state.store(STARTING, Ordering::SeqCst);\n            true\n        }",
        Model(Shuttle, PERCORE, CLAIMED),
    ),
    ("model: a stock that is left relaxed", SHARED, UNLOCK, UNLOCK_RELAXED, Model(Loom, MEM, FRAMES)),
    (
        "model: a frame that stays in its stock",
        MEMORY,
        "self.cache.pop()\n        {\n            return Ok(Owned(frame));",
        "self.cache.last().copied()\n        {\n            return Ok(Owned(frame));",
        Model(Shuttle, MEM, FRAMES),
    ),
    (
        "model: a copier that does not look again",
        PAGE,
        "if source.0.load(Ordering::SeqCst) != word {",
        "if source.0.load(Ordering::SeqCst) == u64::MAX {",
        Model(Loom, MEM, OWNED),
    ),
    (
        "model: a copier that counts what is freed",
        COUNT,
        "word >= ALIVE\n",
        "word >= COUNTED\n",
        Model(Loom, MEM, PARTED),
    ),
    (
        "model: a breaker that keeps what another has",
        COUNT,
        "word | WIDE == ALIVE | WIDE",
        "word <= ALIVE + 2 * PART",
        Model(Shuttle, MEM, PARTED),
    ),
    (
        "model: a page that is kept and still counted",
        COUNT,
        "sharers.compare_exchange(word, 0, ",
        "sharers.compare_exchange(word, word, ",
        Model(Loom, MEM, OWNED),
    ),
    (
        "model: a page whose readers are forgotten when it is kept",
        COUNT,
        "alone.then_some(word & WIDE != 0)",
        "alone.then_some(false)",
        Model(Loom, MEM, OWNED),
    ),
    (
        "model: a slot that is open when its page was cut off",
        PAGE,
        "(w & STATE == REVOKING).then_some(REVOKING)",
        "(w & STATE == REVOKING).then_some(ABSENT)",
        Model(Loom, SEGMENT, CUT_OFF),
    ),
    (
        "model: a page that is let go only below the end",
        "crates/kernel/segment/src/segment.rs",
        "if let Some(slot) = self.any_slot(platform, page) {\n            slot.unpin();",
        "if let Some(slot) = self.slot(platform, page) {\n            slot.unpin();",
        Model(Loom, SEGMENT, LET_GO),
    ),
    (
        "model: slots that stay closed when a segment grows",
        "crates/kernel/segment/src/segment.rs",
        "                slot.open();\n",
        "",
        Model(Loom, SEGMENT, CUT_OFF),
    ),
    (
        "model: limbo that waits for nobody",
        LIMBO,
        "if !passed {",
        "if !passed && false {",
        Model(Shuttle, SHARES, FOUND),
    ),
    ("model: objects under an epoch left relaxed", EPOCH, LEFT, LEFT_RELAXED, Model(Loom, SHARES, FOUND)),
    (
        "model: an object that is named before it is there",
        LINK,
        "let id = self.id.load(Ordering::Acquire);\n        Link {",
        "let id = self.id.load(Ordering::Relaxed) | 1;\n        Link {",
        Model(Shuttle, SHARES, FOUND),
    ),
    (
        "model: an object whose finders nobody knows",
        SHARE,
        "header.seen().union(self.holders.load());\n        Some",
        "Some",
        Model(Shuttle, SHARES, FOUND),
    ),
    (
        "model: a reference where there is none",
        HEADER,
        "while refs != 0 {",
        "while refs != u64::MAX {",
        Model(Shuttle, SHARES, REFERENCE),
    ),
    (
        "model: a reference that is released relaxed",
        HEADER,
        "self.refs.fetch_sub(1, Ordering::AcqRel)",
        "self.refs.fetch_sub(1, Ordering::Relaxed)",
        Model(Loom, SHARES, REFERENCE),
    ),
    ("model: a fill without the leaf's lock", FAULT, LEAF_LOCK, NO_LEAF_LOCK, Model(Loom, ATREE, FILLED)),
    (
        "model: a fill that does not look again",
        FAULT,
        "let same_page = !LOCKED",
        "let same_page = found.frame == found.frame",
        Model(Loom, ATREE, FILLED),
    ),
    ("model: an answer before the flush", LOCAL, SERVED, ANSWERED_FIRST, Model(Loom, ATREE, FILLED)),
    (
        "model: a detach that forgets nothing",
        REVOKE,
        "    // Upper-level entries may be cached by themselves: a page-wise flush is not enough.\n    platform.flush_all();\n",
        "",
        Model(Shuttle, ATREE, LINKED),
    ),
    (
        "model: an attach that does not look again",
        RUN,
        "    if tree.is_dead() {\n        tree.attached.remove(local.id);",
        "    if tree.is_dead() && false {\n        tree.attached.remove(local.id);",
        Model(Shuttle, ATREE, LINKED),
    ),
    (
        "model: a halted core that waits on",
        HALT,
        "None if ctx.local.halt_pending => return Ok(()),",
        "None if ctx.local.halt_pending && core.0 > 99 => return Ok(()),",
        Model(Loom, COREY, HALTED),
    ),
    ("model: a wait that does not look again", WAITING, WORD, NO_WORD, Model(Loom, COREY, WOKEN)),
    (
        "model: a waiter that looks before it is listed",
        WAITING,
        "    let core = ctx.core();\n    ctx.local.running.woken = false;\n    segment.set_waited();",
        "    let core = ctx.core();\n    ctx.local.running.woken = false;\n    let mut word = [0; 8];\n    Segment::read(segment, ctx, inside, offset, &mut word)?;\n    if u64::from_le_bytes(word) == value {\n        let list = ctx.world.waits(segment.header().home());\n        if let Some(list) = list {\n            list.lock(&mut ctx.local).add(segment.link(), offset, core);\n        }\n        return Ok(());\n    }",
        Model(Shuttle, COREY, WOKEN),
    ),
    (
        "model: a batch that is pushed relaxed",
        INBOX,
        "link.as_ptr(), Ordering::Release,",
        "link.as_ptr(), Ordering::Relaxed,",
        Model(Loom, HEAP, SENT),
    ),
    (
        "model: batches that are taken relaxed",
        INBOX,
        "swap(ptr::null_mut(), Ordering::Acquire)",
        "swap(ptr::null_mut(), Ordering::Relaxed)",
        Model(Loom, HEAP, SENT),
    ),
    (
        "model: a push that forgets what was pushed before",
        INBOX,
        "Err(now) => first = now,",
        "Err(now) => {\n                    self.first.store(link.as_ptr(), Ordering::Release);\n                    let _ = now;\n                    return;\n                }",
        Model(Shuttle, HEAP, HOME),
    ),
    (
        "model: a heap that is taken relaxed",
        TENURE,
        "compare_exchange(IDLE, USED, Ordering::Acquire",
        "compare_exchange(IDLE, USED, Ordering::Relaxed",
        Model(Loom, HEAP, HAD),
    ),
    (
        "model: cache, a reader that does not check again",
        CONTENT,
        "slot.load(Ordering::Relaxed) == word.0\n            ||",
        "slot.load(Ordering::Relaxed) != 1\n            ||",
        Model(Shuttle, CACHE, SEEN_WHOLE),
    ),
    (
        "model: cache, a reader that checks before it copied",
        CONTENT,
        "        // The copy comes before what follows.\n        fence(Ordering::Acquire);\n",
        "",
        Model(Loom, CACHE, SEEN_WHOLE),
    ),
    (
        "model: cache, a generation that stays",
        POOL,
        "Some((block, self.renew(block)))",
        "Some((block, self.generation(block).load(Ordering::Relaxed) + 1))",
        Model(Shuttle, CACHE, SEEN_WHOLE),
    ),
    (
        "model: cache, a generation after the copy",
        CONTENT,
        "        unsafe { self.env.copy_in(from.as_ptr(), self.cache.bytes(fresh), BLOCK) };\n",
        "        self.cache.generation(fresh).store(generation - 1, Ordering::Relaxed);\n        unsafe { self.env.copy_in(from.as_ptr(), self.cache.bytes(fresh), BLOCK) };\n        self.cache.generation(fresh).store(generation, Ordering::Relaxed);\n",
        Model(Loom, CACHE, SEEN_WHOLE),
    ),
    (
        "model: cache, a generation that is not fenced",
        POOL,
        "        corey_lib_sync::atomic::fence(Ordering::Release);\n",
        "",
        Model(Loom, CACHE, SEEN_WHOLE),
    ),
    (
        "model: cache, a carrier of its last content's generation",
        POOL,
        "        // It was a file's until now.\n        self.renew(block);\n",
        "",
        Model(Shuttle, CACHE, SEEN_WHOLE),
    ),
    (
        "model: cache, a block that is free before it is replaced",
        CONTENT,
        "        let old = Word(slot.swap(Word::block(fresh, generation, dirty).0, Ordering::AcqRel));\n        if !old.is_none() {\n            self.free(old.index());\n        }\n",
        "        let old = Word(slot.load(Ordering::Acquire));\n        if !old.is_none() {\n            self.free(old.index());\n        }\n        slot.swap(Word::block(fresh, generation, dirty).0, Ordering::AcqRel);\n",
        Model(Loom, CACHE, SEEN_WHOLE),
    ),
    (
        "model: cache, a block that is replaced relaxed",
        CONTENT,
        "slot.swap(Word::block(fresh, generation, dirty).0, Ordering::AcqRel)",
        "slot.swap(Word::block(fresh, generation, dirty).0, Ordering::Relaxed)",
        Model(Loom, CACHE, SEEN_WHOLE),
    ),
    (
        "model: cache, a part that is stored over another",
        CONTENT,
        "match slot.compare_exchange(old.0, new.0, Ordering::AcqRel, Ordering::Acquire) {",
        "match Ok::<u64, u64>(slot.swap(new.0, Ordering::AcqRel)) {",
        Model(Shuttle, CACHE, PARTS),
    ),
    (
        "model: cache, a chain that is sent relaxed",
        POOL,
        "(first, chain.0, Ordering::Release, Ordering::Relaxed)",
        "(first, chain.0, Ordering::Relaxed, Ordering::Relaxed)",
        Model(Loom, CACHE, HAD_BY_ONE),
    ),
    (
        "model: cache, a chain that is put back relaxed",
        POOL,
        "word.swap(chain.0, Ordering::Release)",
        "word.swap(chain.0, Ordering::Relaxed)",
        Model(Loom, CACHE, HAD_BY_ONE),
    ),
    (
        "model: cache, a chain that is taken relaxed",
        POOL,
        "Chain(word.swap(0, Ordering::AcqRel))",
        "Chain(word.swap(0, Ordering::Release))",
        Model(Loom, CACHE, HAD_BY_ONE),
    ),
    (
        "model: cache, who finds nothing and believes it",
        POOL,
        "found.is_some() || before == after && before.is_some()",
        "found.is_some() || before == after || true",
        Model(Shuttle, CACHE, HAD_BY_ONE),
    ),
    (
        "model: cache, a holder that does not look",
        LIFE,
        "if file.state() == State::live(id.generation()) {",
        "if file.state().generation() == id.generation() {",
        Model(Shuttle, CACHE, REMOVED),
    ),
    (
        "model: cache, a holder without a fence",
        LIFE,
        "    #[cfg(loom)]\n    corey_lib_sync::atomic::fence(Ordering::SeqCst);\n",
        "",
        Model(Loom, CACHE, REMOVED),
    ),
    (
        "model: cache, a last holder who frees nothing",
        LIFE,
        "if file.state().is_removed() { self.reap(file, slot) }",
        "if file.state().is_removed() && slot > 99 { self.reap(file, slot) }",
        Model(Shuttle, CACHE, REMOVED),
    ),
    (
        "model: cache, a remover that asks for no holder",
        LIFE,
        "|| client.cache.lines(slot).any(held) {",
        "|| client.cache.lines(slot).any(held) && slot > 99 {",
        Model(Shuttle, CACHE, REMOVED),
    ),
    (
        "model: cache, a cut without the lock",
        CONTENT,
        "self.alone(file, held.id.slot(), |client| client.truncate_alone(file, size))?;",
        "self.truncate_alone(file, size)?;",
        Model(Loom, CACHE, KEPT),
    ),
    (
        "model: cache, a cut that waits for nobody",
        CLIENT,
        "words::await_reader(&line.reading, &mut self.env);",
        "let _ = (line, words::await_reader::<E>);",
        Model(Loom, CACHE, KEPT),
    ),
    (
        "model: cache, a cut without a fence",
        CLIENT,
        "        self.env.force();\n",
        "",
        Model(Loom, CACHE, KEPT),
    ),
    (
        "model: cache, a root over another's",
        TREE,
        "match root.compare_exchange(top.0, next.0, Ordering::AcqRel, Ordering::Acquire) {",
        "match Ok::<u64, u64>(root.swap(next.0, Ordering::AcqRel)) {",
        Model(Shuttle, CACHE, GROWN),
    ),
    (
        "model: cache, a node over another's",
        TREE,
        "match slot.compare_exchange(0, next.0, Ordering::AcqRel, Ordering::Acquire) {",
        "match Ok::<u64, u64>(slot.swap(next.0, Ordering::AcqRel)) {",
        Model(Shuttle, CACHE, GROWN),
    ),
    (
        "model: cache, a root that is put there relaxed",
        TREE,
        "match root.compare_exchange(top.0, next.0, Ordering::AcqRel, Ordering::Acquire) {",
        "match root.compare_exchange(top.0, next.0, Ordering::Relaxed, Ordering::Relaxed) {",
        Model(Loom, CACHE, GROWN),
    ),
    (
        "model: cache, a fetch without the lock",
        CONTENT,
        "        lock(&file.locks.backing, &mut self.env);\n        let result = self.fetch_locked(slot, key, block, word);\n        unlock(&file.locks.backing);\n",
        "        let result = self.fetch_locked(slot, key, block, word);\n",
        Model(Shuttle, CACHE, FETCHED),
    ),
    (
        "model: cache, a dirty block that is not written",
        EVICT,
        "let done = client.write_back(key, block, slot);",
        "let _ = (key, block);\n            let done: Result<(), Fault> = slot\n                .compare_exchange(word.0, word.clean().0, Ordering::AcqRel, Ordering::Relaxed)\n                .map_or(Ok(()), |_| Ok(()));",
        Model(Shuttle, CACHE, EVICTED),
    ),
    (
        "model: cache, a block that is clean though it was written meanwhile",
        CONTENT,
        "let _ = slot.compare_exchange(word.0, word.clean().0, Ordering::AcqRel, Ordering::Relaxed);",
        "slot.store(Word(slot.load(Ordering::Acquire)).clean().0, Ordering::Release);",
        Model(Shuttle, CACHE, EVICTED),
    ),
    (
        "model: cache, a block that goes though it was written meanwhile",
        EVICT,
        "slot.compare_exchange(word.0, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()",
        "slot.swap(0, Ordering::AcqRel) != 0",
        Model(Shuttle, CACHE, EVICTED),
    ),
    (
        "model: ring, words stored relaxed",
        WORDS,
        "at.store(word, Ordering::Release);",
        "at.store(word, Ordering::Relaxed);",
        Model(Loom, RING, CALLED),
    ),
    (
        "model: ring, words that follow each other stored relaxed",
        WORDS,
        "at.store(*word, Ordering::Release)",
        "at.store(*word, Ordering::Relaxed)",
        Model(Loom, RING, CALLED),
    ),
    (
        "model: ring, words loaded relaxed",
        WORDS,
        "word.load(Ordering::Acquire)",
        "word.load(Ordering::Relaxed)",
        Model(Loom, RING, CALLED),
    ),
    (
        "model: ring, a request's first word first",
        SUBMIT,
        "(published..filled - 2).step_by(2).rev()",
        "(published..filled - 2).step_by(2)",
        Model(Shuttle, RING, ROUND),
    ),
    (
        "model: ring, a line's first word first",
        WORDS,
        "at.iter().zip(words).rev()",
        "at.iter().zip(words)",
        Model(Shuttle, RING, IN_FLIGHT),
    ),
    (
        "model: ring, an argument of the round before behind a request",
        SUBMIT,
        "if at + 2 < LINE {",
        "if at + 2 < LINE && at > LINE {",
        Model(Loom, RING, ROUND),
    ),
    (
        "model: ring, one call more than lines permit",
        SUBMIT,
        "depth: u64::from(shape.depth()),",
        "depth: u64::from(shape.slots()),",
        Model(Loom, RING, ROUND),
    ),
    (
        "model: ring, a phase that does not turn",
        SHAPE,
        "self.phase ^= u64::from(self.at == 0);",
        "self.phase ^= u64::from(self.at == 0 && shape.mask > 9);",
        Model(Shuttle, RING, ROUND),
    ),
    (
        "model: ring, the doorbell without a fence",
        SUBMIT,
        "        fence(Ordering::SeqCst);\n",
        "",
        Model(Loom, RING, RUNG),
    ),
    (
        "model: ring, armed without a fence",
        CONSUME,
        "        fence(Ordering::SeqCst);\n",
        "",
        Model(Loom, RING, RUNG),
    ),
    (
        "model: ring, no look between armed and asleep",
        CONSUME,
        "self.broken.is_some() || !self.head(words).has(self.line.phase)",
        "self.broken.is_some() || self.armed > 0",
        Model(Shuttle, RING, RUNG),
    ),
    (
        "model: ring, one doorbell for all sleeps",
        SUBMIT,
        "&& armed != self.rung {",
        "&& self.rung == 0 {",
        Model(Loom, RING, RUNG_AGAIN),
    ),
    (
        "model: ring, a word that is read twice",
        CONSUME,
        "let (units, mut number) = (head.units(), head.number());",
        "let (units, mut number) = (self.head(words).units(), head.number());",
        Model(Shuttle, RING, REWRITTEN),
    ),
    (
        "model: ring, the end before the last answers",
        SUBMIT,
        "            (self.depth, self.patience) = (0, 0);\n        }\n        None",
        "            (self.depth, self.patience) = (0, 0);\n        }\n        self.ended.map(|error| self.answer(Err(error)))",
        Model(Loom, RING, ENDING),
    ),
    (
        "model: whole kernels, nobody is asked to forget",
        REVOKE,
        "            ctx.local.broadcast(others, message);\n            asked.union(others);",
        "            let _ = message;\n            asked.union(others);",
        Model(Shuttle, COREY, TAKEN),
    ),
    (
        "model: whole kernels, an answer before the flush",
        LOCAL,
        SERVED,
        ANSWERED_FIRST,
        Model(Shuttle, COREY, CUT),
    ),
    (
        "model: whole kernels, halted and waiting on",
        HALT,
        "None if ctx.local.halt_pending => return Ok(()),",
        "None if ctx.local.halt_pending && core.0 > 99 => return Ok(()),",
        Model(Shuttle, COREY, ENDED),
    ),
    (
        "model: whole kernels, a word that is not looked at",
        WAITING,
        WORD,
        NO_WORD,
        Model(Shuttle, COREY, LOST),
    ),
    (
        "model: whole kernels, writers that keep their permission",
        COPY,
        "(ctx.hooks.revoke)(ctx, inside, from.header(), page, count, Take::Write);",
        "let _ = (page, count, Take::Write);",
        Model(Shuttle, COREY, SIDES),
    ),
    (
        "model: whole kernels, limbo that waits for nobody",
        LIMBO,
        "if !passed {",
        "if !passed && false {",
        Model(Shuttle, COREY, LOOKED),
    ),
];
