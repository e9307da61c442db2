//! Cores as objects: who has them, and what runs.

use corey_abi::{Error, SHORTEST_SLICE, reason};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Run {
    tree: usize,
    place: usize,
}

/// One core.
#[derive(Clone, Copy, Debug, Default)]
struct Core {
    /// The number of the pcore that has it.
    owner: Option<usize>,
    running: Option<Run>,
}

/// Cores, the root trees that run on them, and the places where runs report. Core 0 runs the program that asks.
#[derive(Clone, Debug)]
pub struct ModelPcores {
    cores: Vec<Core>,
    /// The core of each pcore ever made.
    pcores: Vec<usize>,
    /// What each place says: reason and value.
    places: Vec<(u32, u32)>,
}

impl ModelPcores {
    /// `cores` cores of which core 0 is taken, and `places` status places.
    #[must_use]
    pub fn new(cores: usize, places: usize) -> Self {
        let mut all = vec![Core::default(); cores];
        all[0].owner = Some(0);
        Self { cores: all, pcores: vec![0], places: vec![(0, 0); places] }
    }

    /// Pcores ever made; number 0 is the asker's own.
    #[must_use]
    pub fn made(&self) -> usize {
        self.pcores.len()
    }

    /// `pcore_alloc`.
    ///
    /// # Errors
    ///
    /// As the call.
    pub fn alloc(&mut self, core: usize) -> Result<usize, Error> {
        let number = self.pcores.len();
        let taken = self.cores.get_mut(core).ok_or(Error::NotFound)?;
        if taken.owner.is_some() {
            return Err(Error::Busy);
        }
        taken.owner = Some(number);
        self.pcores.push(core);
        Ok(number)
    }

    fn core(&mut self, pcore: usize) -> Result<&mut Core, Error> {
        let core = *self.pcores.get(pcore).ok_or(Error::NotFound)?;
        let core = &mut self.cores[core];
        if core.owner == Some(pcore) { Ok(core) } else { Err(Error::NotFound) }
    }

    /// `pcore_run` of root tree `tree`, reporting at `place`.
    ///
    /// # Errors
    ///
    /// As the call.
    pub fn run(&mut self, pcore: usize, tree: usize, place: usize) -> Result<(), Error> {
        let busy = self.cores.iter().any(|c| c.running.is_some_and(|run| run.tree == tree));
        let core = self.core(pcore)?;
        if core.running.is_some() || busy {
            return Err(Error::Busy);
        }
        core.running = Some(Run { tree, place });
        self.places[place] = (reason::RUNNING, 0);
        Ok(())
    }

    /// `pcore_halt`, by another core, or by itself.
    ///
    /// # Errors
    ///
    /// As the call.
    pub fn halt(&mut self, pcore: usize, why: u32, value: u32) -> Result<(), Error> {
        let run = self.core(pcore)?.running.take().ok_or(Error::NotPermitted)?;
        self.places[run.place] = (why, value);
        Ok(())
    }

    /// `pcore_set_interval`.
    ///
    /// # Errors
    ///
    /// As the call.
    pub fn interval(&mut self, pcore: usize, nanoseconds: u64) -> Result<(), Error> {
        let core = self.core(pcore)?;
        if (1..SHORTEST_SLICE).contains(&nanoseconds) {
            return Err(Error::OutOfRange);
        }
        core.running.map(|_| ()).ok_or(Error::NotPermitted)
    }

    /// Where its run reports.
    #[must_use]
    pub fn place(&self, pcore: usize) -> Option<usize> {
        Some(self.cores.get(*self.pcores.get(pcore)?)?.running?.place)
    }

    /// Whether something runs that reports at `place`.
    #[must_use]
    pub fn is_reporting(&self, place: usize) -> bool {
        self.cores.iter().any(|core| core.running.is_some_and(|run| run.place == place))
    }

    /// Whether it runs.
    #[must_use]
    pub fn runs(&self, pcore: usize) -> bool {
        self.pcores.get(pcore).is_some_and(|core| {
            let core = self.cores[*core];
            core.owner == Some(pcore) && core.running.is_some()
        })
    }

    /// `share_delobj` of its only name: what runs there loses it.
    ///
    /// # Errors
    ///
    /// As the call.
    pub fn remove(&mut self, pcore: usize) -> Result<(), Error> {
        let core = self.core(pcore)?;
        core.owner = None;
        if let Some(run) = core.running.take() {
            self.places[run.place] = (reason::LOST_SHARE, 0);
        }
        Ok(())
    }

    /// What a status place says: reason and value.
    #[must_use]
    pub fn status(&self, place: usize) -> (u32, u32) {
        self.places[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_runs_once_and_a_core_too() {
        let mut model = ModelPcores::new(3, 2);
        assert_eq!(model.alloc(0), Err(Error::Busy));
        assert_eq!(model.alloc(3), Err(Error::NotFound));
        let (a, b) = (model.alloc(1).unwrap(), model.alloc(2).unwrap());
        assert_eq!(model.run(a, 7, 0), Ok(()));
        assert_eq!(model.run(a, 8, 1), Err(Error::Busy));
        assert_eq!(model.run(b, 7, 1), Err(Error::Busy));
        assert_eq!(model.remove(a), Ok(()));
        assert_eq!(model.status(0), (reason::LOST_SHARE, 0));
        assert_eq!(model.halt(a, 1, 1), Err(Error::NotFound));
        assert_eq!(model.run(b, 7, 1), Ok(()));
        assert_eq!(model.halt(b, reason::HALTED, 5), Ok(()));
        assert_eq!(model.halt(b, reason::HALTED, 5), Err(Error::NotPermitted));
        assert_eq!(model.status(1), (reason::HALTED, 5));
    }
}
