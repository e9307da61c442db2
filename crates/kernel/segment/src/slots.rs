//! Page slots of one segment: the first few beside the segment itself, the rest in a radix tree.

use corey_abi::Error;
use corey_kernel_hal::{Frame, Platform};
use corey_kernel_mem::{Content, FrameCell, FrameList, Gone, Memory, PageSlot, PageState, Source};
use corey_kernel_object::Ctx;
use corey_kernel_percore::CoreSet;

/// Slots of 2 MiB.
type Leaf = [PageSlot; 512];
/// Leaves of 1 GiB.
type Middle = [FrameCell<Leaf>; 512];
/// Middles of 512 GiB.
type Top = [FrameCell<Middle>; 512];

/// Pages of a leaf.
const LEAF: u64 = 512;
/// Pages of a middle.
const MIDDLE: u64 = 512 * LEAF;
/// Most pages of a segment.
pub(crate) const MAX_PAGES: u64 = 512 * MIDDLE;

/// Pages whose slots need no frame.
const FEW: u64 = 8;

/// A line of slots: by itself, as whoever makes a page writes it, and what faults read of a segment stays as it is.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Few([PageSlot; FEW as usize]);

/// Slots by page number: the first few in `few`, the rest of the first 2 MiB in `small`, the rest of the first GiB below
/// `middle`, all else below `top`.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    few: Few,
    small: FrameCell<Leaf>,
    middle: FrameCell<Middle>,
    top: FrameCell<Top>,
}

/// Frames of slots that `npages` pages need.
#[inline(always)]
pub(crate) fn frames_for(npages: u64) -> u64 {
    if npages <= FEW {
        return 0;
    }
    let leaves = npages.div_ceil(LEAF);
    let middles = if npages > LEAF { npages.div_ceil(MIDDLE) } else { 0 };
    leaves + middles + u64::from(npages > MIDDLE)
}

impl Slots {
    /// The slot of page `page`, if its frame is there.
    #[inline(always)]
    pub(crate) fn get<P: Platform>(&self, platform: &P, page: u64) -> Option<&PageSlot> {
        if page < FEW {
            return self.few.0.get(page as usize);
        }
        self.leaf(platform, page)?.get((page % LEAF) as usize)
    }

    #[inline(always)]
    fn leaf<P: Platform>(&self, platform: &P, page: u64) -> Option<&Leaf> {
        let leaf = if page < LEAF {
            &self.small
        } else if page < MIDDLE {
            self.middle.get(platform)?.get((page / LEAF) as usize)?
        } else {
            let middle = self.top.get(platform)?.get((page / MIDDLE) as usize)?;
            middle.get(platform)?.get((page / LEAF % 512) as usize)?
        };
        leaf.get(platform)
    }

    /// The slots from page `page` to the end of the first few, or of its leaf; none if that is not there.
    #[inline(always)]
    pub(crate) fn from<P: Platform>(&self, platform: &P, page: u64) -> &[PageSlot] {
        let (slots, first): (&[PageSlot], _) = if page < FEW {
            (&self.few.0, page)
        } else {
            (self.leaf(platform, page).map_or(&[], |leaf| leaf), page % LEAF)
        };
        slots.get(first as usize..).unwrap_or(&[])
    }

    /// Makes sure that the pages below `npages` have slots.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`]; then nothing was made.
    #[inline(always)]
    pub(crate) fn reserve<P: Platform>(
        &self,
        ctx: &mut Ctx<P>,
        npages: u64,
        source: Source,
    ) -> Result<(), Error> {
        if npages <= FEW { Ok(()) } else { self.reserve_frames(ctx, npages, source) }
    }

    #[cold]
    #[inline(never)]
    fn reserve_frames<P: Platform>(
        &self,
        ctx: &mut Ctx<P>,
        npages: u64,
        source: Source,
    ) -> Result<(), Error> {
        let platform = ctx.local.platform.clone();
        // All or none: a frame that is in its place stays there until the segment ends.
        let mut frames = ctx.alloc_all(source, self.lacking(&platform, npages))?;
        for page in (0..npages).step_by(LEAF as usize) {
            if page < LEAF {
                fill(ctx, &self.small, &mut frames)?;
            } else {
                let middle = if page < MIDDLE {
                    &self.middle
                } else {
                    fill(ctx, &self.top, &mut frames)?;
                    let top = self.top.get(&platform).ok_or(Error::NoMemory)?;
                    top.get((page / MIDDLE) as usize).ok_or(Error::OutOfRange)?
                };
                fill(ctx, middle, &mut frames)?;
                let leaves = middle.get(&platform).ok_or(Error::NoMemory)?;
                fill(ctx, leaves.get((page / LEAF % 512) as usize).ok_or(Error::OutOfRange)?, &mut frames)?;
            }
            ctx.serve_every(page / LEAF);
        }
        ctx.free_all(frames);
        Ok(())
    }

    /// Frames that [`Slots::reserve`] has to make. Who asks is the only one that makes any.
    fn lacking<P: Platform>(&self, platform: &P, npages: u64) -> u64 {
        let leaves = (0..npages).step_by(LEAF as usize).filter(|page| match *page {
            0 => self.small.frame().is_none(),
            page => self.get(platform, page).is_none(),
        });
        // The first leaf needs none.
        let above = if npages > LEAF { npages } else { 0 };
        let middles = (0..above).step_by(MIDDLE as usize).filter(|page| {
            let found = match page / MIDDLE {
                0 => Some(&self.middle),
                at => self.top.get(platform).and_then(|top| top.get(at as usize)),
            };
            found.is_none_or(|middle| middle.frame().is_none())
        });
        let top = npages > MIDDLE && self.top.frame().is_none();
        (leaves.count() + middles.count()) as u64 + u64::from(top)
    }

    /// Frees the first `pages` pages, the only ones there are, and every frame of slots.
    #[inline(always)]
    pub(crate) fn free<P: Platform>(&mut self, ctx: &mut Ctx<P>, pages: u64) {
        for slot in self.few.0.iter_mut().take(pages as usize) {
            if let Some(gone) = slot.take() {
                give_up(ctx, gone);
            }
        }
        if self.small.frame().is_some() {
            self.free_frames(ctx, pages);
        }
    }

    /// Frees the pages whose slots are in frames, and the frames. If there is any, the first is.
    #[cold]
    #[inline(never)]
    fn free_frames<P: Platform>(&mut self, ctx: &mut Ctx<P>, pages: u64) {
        let platform = ctx.local.platform.clone();
        let mut left = pages;
        free_leaf(ctx, &platform, &mut self.small, &mut left);
        free_middle(ctx, &platform, &mut self.middle, &mut left);
        if let Some(top) = self.top.get_mut(&platform) {
            for middle in top {
                free_middle(ctx, &platform, middle, &mut left);
            }
        }
        if let Some(frame) = self.top.take() {
            ctx.free(frame);
        }
    }

    /// For audits: frames of slots, and pages, shared ones when their last part is counted out.
    pub(crate) fn census<P: Platform>(&self, platform: &P, memory: &Memory) -> (u64, u64) {
        let (mut frames, mut pages) = (0, 0);
        self.each(platform, &mut |frame, slots| {
            frames += u64::from(frame);
            pages += slots.iter().filter(|slot| slot.count(memory, true)).count() as u64;
        });
        (frames, pages)
    }

    /// Counts the shared pages back in.
    pub(crate) fn recount<P: Platform>(&self, platform: &P, memory: &Memory) {
        self.each(platform, &mut |_, slots| {
            for slot in slots {
                slot.count(memory, false);
            }
        });
    }

    /// Calls `each` with every frame of slots, and with the first frame of every page.
    pub(crate) fn each_frame<P: Platform>(&self, platform: &P, each: &mut dyn FnMut(Frame, bool)) {
        fn pages(slots: &[PageSlot], each: &mut dyn FnMut(Frame, bool)) {
            for slot in slots {
                if let PageState::Present(page) | PageState::Cow(page) | PageState::Reference(page) =
                    slot.load()
                {
                    each(page.frame(), true);
                }
            }
        }
        fn leaf<P: Platform>(platform: &P, cell: &FrameCell<Leaf>, each: &mut dyn FnMut(Frame, bool)) {
            let Some((frame, slots)) = cell.get_with_frame(platform) else { return };
            each(frame, false);
            pages(slots, each);
        }
        fn middle<P: Platform>(platform: &P, cell: &FrameCell<Middle>, each: &mut dyn FnMut(Frame, bool)) {
            let Some((frame, leaves)) = cell.get_with_frame(platform) else { return };
            each(frame, false);
            leaves.iter().for_each(|cell| leaf(platform, cell, each));
        }
        pages(&self.few.0, each);
        leaf(platform, &self.small, each);
        middle(platform, &self.middle, each);
        if let Some((frame, middles)) = self.top.get_with_frame(platform) {
            each(frame, false);
            middles.iter().for_each(|cell| middle(platform, cell, each));
        }
    }

    /// Calls `each` with 1 and its slots for every frame, and with 0 and those that need none.
    fn each<P: Platform>(&self, platform: &P, each: &mut dyn FnMut(u8, &[PageSlot])) {
        fn middle<P: Platform>(
            platform: &P,
            cell: &FrameCell<Middle>,
            each: &mut dyn FnMut(u8, &[PageSlot]),
        ) {
            if let Some(middle) = cell.get(platform) {
                each(1, &[]);
                middle.iter().filter_map(|leaf| leaf.get(platform)).for_each(|leaf| each(1, leaf));
            }
        }
        each(0, &self.few.0);
        if let Some(leaf) = self.small.get(platform) {
            each(1, leaf);
        }
        middle(platform, &self.middle, each);
        if let Some(top) = self.top.get(platform) {
            each(1, &[]);
            top.iter().for_each(|cell| middle(platform, cell, each));
        }
    }
}

fn fill<P: Platform, T: Content>(
    ctx: &mut Ctx<P>,
    cell: &FrameCell<T>,
    frames: &mut FrameList,
) -> Result<(), Error> {
    if cell.frame().is_none() {
        let frame = frames.pop(&ctx.world.memory).ok_or(Error::NoMemory)?;
        if let Err(frame) = cell.publish(frame.zero(&ctx.local.platform)) {
            ctx.free(frame.into_owned());
        }
    }
    Ok(())
}

/// Gives up a page of a segment that is dead and quiescent: nobody uses its pages through it.
#[inline(never)]
fn give_up<P: Platform>(ctx: &mut Ctx<P>, gone: Gone) {
    ctx.give_up(gone, ctx.core(), CoreSet::EMPTY);
}

fn free_leaf<P: Platform>(ctx: &mut Ctx<P>, platform: &P, cell: &mut FrameCell<Leaf>, left: &mut u64) {
    if let Some(leaf) = cell.get_mut(platform) {
        for (i, slot) in leaf.iter_mut().take((*left).min(LEAF) as usize).enumerate() {
            if let Some(gone) = slot.take() {
                give_up(ctx, gone);
            }
            ctx.serve_every(i as u64);
        }
    }
    *left = left.saturating_sub(LEAF);
    if let Some(frame) = cell.take() {
        ctx.free(frame);
    }
}

fn free_middle<P: Platform>(ctx: &mut Ctx<P>, platform: &P, cell: &mut FrameCell<Middle>, left: &mut u64) {
    if let Some(middle) = cell.get_mut(platform) {
        // The first leaf of the first middle is elsewhere.
        for leaf in middle {
            if leaf.frame().is_some() {
                free_leaf(ctx, platform, leaf, left);
            }
        }
    }
    if let Some(frame) = cell.take() {
        ctx.free(frame);
    }
}
