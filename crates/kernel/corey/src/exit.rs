//! What waits for the kernel exit, and the service of messages.

use crate::core_kernel::Core;
use crate::waiting;
use corey_abi::{Kind, reason};
use corey_kernel_atree::{self as atree, Tree};
use corey_kernel_device as device;
use corey_kernel_hal::{CoreId, Exit, Outcome, Platform, UserContext};
use corey_kernel_object::{Ctx, Entered, Header, Link};
use corey_kernel_pcore::{self as pcore, Current, Ending};
use corey_kernel_percore::{CoreSet, Delivery, Local, Message, MessageKind, ObjectWords};
use corey_kernel_segment::Segment;
use corey_kernel_share::Share;
use corey_lib_sync::Relax;
use corey_lib_sync::atomic::{Ordering, fence};

/// Serves one message: paging at once, the rest at the kernel exit.
pub(crate) fn serve<P: Platform>(local: &mut Local<P>, _: CoreId, message: &Message) -> Delivery {
    match message.kind {
        // It is about what begins at this exit.
        MessageKind::Stat | MessageKind::Interval if local.run_pending => Delivery::Later,
        MessageKind::ForgetSegment
        | MessageKind::ProtectSegment
        | MessageKind::ForgetTree
        | MessageKind::Unlink => {
            atree::forget(local, message);
            Delivery::Done(0)
        }
        MessageKind::Fence => {
            fence(Ordering::SeqCst);
            Delivery::Done(0)
        }
        MessageKind::ChangeRoot => Delivery::Done(atree::serve_change(local, message)),
        MessageKind::Stat => {
            local.draw();
            Delivery::Done(0)
        }
        MessageKind::Wake => {
            local.running.woken = true;
            Delivery::Done(0)
        }
        MessageKind::Interval => Delivery::Done(set_interval(local, message)),
        MessageKind::Halt => {
            local.halt_pending = true;
            Delivery::Later
        }
        MessageKind::Recheck => {
            // Every exit that has something to do looks at what it runs on.
            local.attention = true;
            Delivery::Done(0)
        }
        MessageKind::Stop => {
            local.audit_pending = true;
            Delivery::Later
        }
    }
}

/// Sets the time slice of a pcore. 1 when it does not run here.
fn set_interval<P: Platform>(local: &mut Local<P>, message: &Message) -> u64 {
    let [ticks, _] = message.words;
    let mine = local.running.pcore == message.object && message.object != ObjectWords::NULL;
    // A kernel core has no time slice.
    let mine = mine && local.paging.root != ObjectWords::NULL;
    if mine {
        local.set_slice(ticks);
    }
    u64::from(!mine)
}

/// Ends an object whose last reference went. What needs a loop or the end of a run is left for the exit.
pub(crate) fn last<P: Platform>(ctx: &mut Ctx<P>, inside: &Entered<'_>, header: &Header) {
    match header.handle::<Segment>() {
        // As most are: by itself.
        Some(segment) if !segment.is_known() => atree::end_segment(ctx, inside, segment),
        _ => last_of_others(ctx, inside, header),
    }
}

#[inline(never)]
fn last_of_others<P: Platform>(ctx: &mut Ctx<P>, inside: &Entered<'_>, header: &Header) {
    let done = match header.kind() {
        Kind::Share => false,
        Kind::Segment => {
            if let Some(segment) = header.handle::<Segment>() {
                if segment.was_waited() {
                    // Whoever waits would not be woken by anybody else.
                    waiting::wake_all(ctx, header.home(), header.link());
                }
                if let Some(posts) = ctx.hooks.posts
                    && !posts.forget(ctx, inside, header.link(), &|device| segment.was_posted(device))
                {
                    // What a device may still write is nobody's for good.
                    return;
                }
                atree::end_segment(ctx, inside, segment);
            }
            true
        }
        Kind::AddressTree => atree::end(ctx, inside, header),
        Kind::Pcore => pcore::end(ctx, inside, header),
        Kind::Device => {
            device::end(ctx, inside, header);
            true
        }
    };
    if !done {
        ctx.push_dying(header);
    }
}

impl<P: Platform> Core<P> {
    /// Does what was noted, until nothing is left, and leaves the kernel: back to the caller with `words`,
    /// into a new context, or to sleep.
    #[cold]
    #[inline(never)]
    pub(crate) fn settle(&mut self, mut inside: Entered<'static>, mut words: Option<[u64; 2]>) -> Outcome {
        let mut resumes = words.is_some();
        loop {
            self.ctx.local.attention = false;
            self.ctx.local.serve_mailbox();
            self.messages(&inside);
            if let Some(ending) = self.ending.take() {
                resumes = false;
                self.stop(&inside, ending);
            }
            if let Some(request) = self.replaced.take() {
                resumes = false;
                self.replace(&inside, request);
            }
            self.check(&inside);
            if self.ctx.local.inherits {
                self.inherit(&inside);
            }
            self.bury(&inside);
            if self.is_kernel_core() {
                self.attend(&inside);
            }
            if let Some(link) = self.dropped.pop() {
                // Between two entries: no handle of this core was looked up through the share.
                self.ctx.leave(inside);
                inside = self.ctx.enter();
                self.release(&inside, link);
                continue;
            }
            if self.ctx.local.attention {
                continue;
            }
            self.write_report(&inside);
            self.ctx.local.serve_mailbox();
            if self.ctx.local.attention {
                continue;
            }
            if self.ctx.waits_for_limbo() {
                // Outside, no mailbox is served: that is done inside, at once after.
                self.ctx.leave(inside);
                self.ctx.local.platform.pause();
                inside = self.ctx.enter();
                continue;
            }
            if self.waiting.is_some() {
                let mut entry = Some(inside);
                let result = self.wait(&mut entry);
                inside = entry.unwrap_or_else(|| self.ctx.enter());
                if let Some(result) = result {
                    words = Some(result);
                }
                continue;
            }
            if self.current.is_some_and(|current| current.is_kernel_core()) {
                self.publish_shares();
                inside = self.poll(inside);
                continue;
            }
            break;
        }
        self.publish_shares();
        self.ctx.leave(inside);
        match (self.enter.take(), words) {
            (Some(context), _) => Outcome::Enter(context),
            (None, Some(words)) if resumes && self.current.is_some() => Outcome::Resume(words),
            (None, None) if self.current.is_some() => Outcome::Resume([0; 2]),
            _ => Outcome::Idle,
        }
    }

    /// Copies the list of shares held to where pictures are drawn from.
    fn publish_shares(&mut self) {
        let shares = &mut self.ctx.local.running.shares;
        shares.clear();
        for link in self.held.iter() {
            // As many as a core can hold.
            let _ = shares.push(link.words());
        }
        if !self.poller.is_empty() {
            self.poller.publish(shares);
        }
    }

    /// Tells who started what ran here that it is over.
    fn write_report(&mut self, inside: &Entered<'static>) {
        if let Some(report) = self.report.take() {
            report.write(&mut self.ctx, inside);
        }
    }

    /// The run that waits, then the deferred messages: a halt that follows a run may come from another core. Not before
    /// everything of a run that is over was dropped: what begins next holds nothing of it.
    fn messages(&mut self, inside: &Entered<'static>) {
        let local = &mut self.ctx.local;
        if !local.run_pending && local.deferred.is_empty() {
            return;
        }
        let clean = self.held.is_empty() && self.dropped.is_empty() && self.poller.is_empty();
        if self.current.is_none() && !clean {
            local.attention = true;
            return;
        }
        if self.ctx.local.audit_pending {
            self.ctx.stand_still();
        }
        if core::mem::take(&mut self.ctx.local.run_pending) {
            self.run(inside);
        }
        let senders = core::mem::take(&mut self.ctx.local.deferred);
        if !senders.is_empty() {
            self.deferred(inside, senders);
        }
    }

    #[cold]
    #[inline(never)]
    fn deferred(&mut self, inside: &Entered<'static>, senders: CoreSet) {
        let mailbox = &self.ctx.local.own().mailbox;
        for sender in senders.iter() {
            let Some(message) = mailbox.reread(sender) else { continue };
            let reply = match message.kind {
                MessageKind::Halt => self.halt(inside, &message),
                MessageKind::Stat => {
                    self.ctx.local.draw();
                    0
                }
                MessageKind::Interval => set_interval(&mut self.ctx.local, &message),
                MessageKind::Stop => {
                    // Came since this core last stood still: its turn is the next one.
                    self.ctx.local.deferred.insert(sender);
                    self.ctx.local.audit_pending = true;
                    self.ctx.local.attention = true;
                    continue;
                }
                kind => {
                    debug_assert!(false, "{kind:?} is answered in the mailbox service");
                    0
                }
            };
            mailbox.answer(sender, reply);
        }
        self.ctx.local.halt_pending = false;
    }

    fn run(&mut self, inside: &Entered<'static>) {
        let held = &mut self.held;
        // There is room for as many shares as a run has.
        let taken = pcore::take(&self.ctx, inside, |share| _ = held.add(share));
        let Some(run) = taken else { return };
        if core::mem::take(&mut self.reheld) {
            // Before anything is looked up through them: who takes an object out looks for holders after that.
            let core = self.ctx.core();
            self.held
                .iter()
                .filter_map(|link| link.resolve::<Share>(inside))
                .for_each(|share| share.mark(core));
        }
        self.current = Current::begin(&mut self.ctx, inside, &run);
        if self.current.is_some() {
            self.enter = (!run.tree.is_null()).then_some(run.context);
            if run.tree.is_null() {
                // Before a halt is served: what was begun has its rings, and ends them.
                self.attend(inside);
            }
            // Before a message is served that asks for them.
            self.publish_shares();
            return;
        }
        if let Some(status) = run.status {
            status.unpin(&self.ctx, inside);
        }
        self.drop_all();
    }

    fn halt(&mut self, inside: &Entered<'static>, message: &Message) -> u64 {
        match self.current {
            Some(current) if current.pcore == Link::from(message.object) => {
                let [value, _] = message.words;
                self.stop(
                    inside,
                    Ending { reason: reason::HALTED_BY_OTHER, value: value as u32, address: 0 },
                );
                0
            }
            _ => 1,
        }
    }

    /// Ends what runs here.
    pub(crate) fn stop(&mut self, inside: &Entered<'static>, ending: Ending) {
        self.end_wait();
        if let Some(current) = self.current.take() {
            if let Some(request) = self.replaced.take() {
                self.forsake(inside, &current, &request);
            }
            self.write_report(inside);
            self.report = current.stop(&mut self.ctx, inside, ending);
            if current.first {
                self.end_of_first(ending);
            }
        }
        self.enter = None;
        self.ending = None;
        self.drop_all();
    }

    /// Gives back what a run on oneself took that does not begin any more: somebody halted it at the same exit.
    fn forsake(
        &mut self,
        inside: &Entered<'static>,
        current: &Current,
        pcore::Request { run, shares }: &pcore::Request,
    ) {
        if let Some(status) = run.status {
            status.unpin(&self.ctx, inside);
        }
        if run.tree != current.tree
            && let Some(tree) = run.tree.resolve::<Tree>(inside)
        {
            atree::unreserve(&tree);
        }
        for link in shares {
            if !self.held.holds(link.id()) {
                // Empty since this entry began: a request's shares fit.
                let _ = self.dropped.add(*link);
            }
        }
    }

    /// What the machine was started for is over.
    fn end_of_first(&mut self, ending: Ending) {
        let Ending { reason, value, address } = ending;
        let machine = self.system.devices.machine();
        match (reason, value) {
            (reason::HALTED, 0) => machine.exit(Exit::PowerOff),
            (reason::HALTED, _) => log::error!("the first program halted with {value}"),
            (reason::FAULT, _) => log::error!("the first program: exception {value}, address {address:#x}"),
            _ => log::error!("the first program lost its share or was halted (reason {reason})"),
        }
        machine.exit(Exit::Status(1))
    }

    /// Replaces the context of what runs here: new share set, new status, perhaps another address space.
    fn replace(&mut self, inside: &Entered<'static>, pcore::Request { run, shares }: pcore::Request) {
        let Some(current) = &mut self.current else { return };
        self.ctx.local.set_slice(0);
        if let Some(status) = current.status.take() {
            status.unpin(&self.ctx, inside);
        }
        if run.tree != current.tree {
            current.tree = run.tree;
            atree::unload(&mut self.ctx, inside);
            // Reserved for this core; if it died meanwhile, `check` halts what runs here.
            if let Some(tree) = run.tree.resolve::<Tree>(inside) {
                atree::load(&mut self.ctx, inside, tree);
            }
        }
        current.status = run.status;
        current.tree_share = run.tree_share;
        current.reference = run.reference;
        let old = core::mem::take(&mut self.held);
        for link in old.iter() {
            if !shares.contains(&link) {
                // As many as were held fit.
                let _ = self.dropped.add(link);
            }
        }
        for link in &shares {
            let _ = self.held.add(*link);
        }
        pcore::keep(&self.ctx, &run, &shares);
        self.enter = (!run.tree.is_null()).then_some(run.context);
    }

    fn drop_all(&mut self) {
        while let Some(link) = self.held.pop() {
            if !self.dropped.add(link) {
                // Full: put it back, and come again when some are released.
                let _ = self.held.add(link);
                break;
            }
        }
    }

    /// Halts what runs here if it lost what it stands on.
    fn check(&mut self, inside: &Entered<'static>) {
        let Some(current) = self.current else {
            self.drop_all();
            return;
        };
        if current.is_lost(&mut self.ctx, inside, &self.held) {
            self.stop(inside, Ending { reason: reason::LOST_SHARE, value: 0, address: 0 });
        }
    }

    /// Ends dying objects, each once: one that still runs stays for the next turn. In between this core looks whether it
    /// is to stop itself, so cores that end what each other run on do not wait for each other.
    fn bury(&mut self, inside: &Entered<'static>) {
        if !self.ctx.begin_burial() {
            return;
        }
        while let Some(header) = self.ctx.pop_dying(inside) {
            match header.handle::<Share>() {
                Some(share) => {
                    Share::bury(share, &mut self.ctx, inside, &mut |ctx, header| last(ctx, inside, header));
                }
                None => last(&mut self.ctx, inside, header),
            }
        }
        self.ctx.local.relax();
    }

    /// Stops being a holder of a dropped share.
    fn release(&mut self, inside: &Entered<'static>, link: Link) {
        if self.is_kernel_core() && (self.held.holds(link.id()) || self.poller.holds(link)) {
            // A core holds a share once: something else here has it, too.
            return;
        }
        let Some(share) = link.resolve::<Share>(inside) else { return };
        if self.current.is_some() {
            atree::unmap_share(&mut self.ctx, inside, link.id());
        }
        let core = self.ctx.core();
        Share::unhold(share, &mut self.ctx, inside, core);
        // What is started here next may have the same share, and have been marked before:
        //
        // starter     claims the place ─ marks this core
        // this core             takes the mark away ─ is the place claimed? ─ what begins marks itself anew
        //
        // If the claim is not seen here, the mark comes after it was taken away.
        self.reheld |= self.current.is_none() && self.ctx.local.own().mailbox.run_place().is_active();
    }

    /// The context this core enters next, for the boot path.
    pub(crate) fn enter_with(&mut self, context: UserContext) {
        self.enter = Some(context);
    }
}
