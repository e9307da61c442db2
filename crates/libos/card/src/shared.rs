//! A card that several cores use, one at a time: whoever has the lock of the stack over it.

use corey_abi::{DeviceCalls, Error, MapFlags, ObjRef, buffer_op};
use corey_lib_sync::Quarantine;
use corey_libos_sys::sys;
use corey_libos_vm::Space;

use super::{Card, PAGES};

impl Card {
    /// Maps the packets in another core's space, where they are in that of the core that opened the card. That core holds the
    /// share that the card was taken into; then it can use the card, too, in a [`corey_lib_sync::Shared`].
    ///
    /// # Errors
    ///
    /// As `at_set_slot`: something else may be mapped there.
    pub fn map_in(&self, space: &mut Space) -> Result<(), Error> {
        space.map_at(self.packets, self.base, 0, PAGES, MapFlags::WRITE).map(|_| ())
    }

    /// Has all buffers come back, and gives those for frames to come to the card anew.
    fn restart(&mut self) -> Result<(), Error> {
        sys().device_buf(self.device, buffer_op::RESET, ObjRef::default(), 0)?;
        let mut places = self.turns.restart();
        places.try_for_each(|place| self.give(place))?;
        self.poll()
    }
}

impl Quarantine for Card {
    /// Resets the card: what was under way is lost, as frames are.
    fn quarantine(&mut self) {
        // One that does not come up receives nothing: its owner sees that in its counters.
        let _ = self.restart();
    }
}
