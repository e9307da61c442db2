//! What loom keeps of an atomic or a cell, by the address of that.
//!
//! A twin is found at the first access. What is zero until then has one that was made before the model's threads were, as
//! if it had lain there from the start. Anything else has a new one: whoever sets a model up writes it, or others would
//! seem to race with its making. When memory was written behind its back, as a frame that is filled with zeroes, the value in its place is not what the
//! twin left there: then a new one takes its place.

use crate::explored::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64};
use core::any::{Any, TypeId};
use core::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

/// An atomic with a twin.
pub(crate) trait Twin {
    /// loom's.
    type Atomic: 'static;
    /// Its value. The default is all zeroes.
    type Word: Copy + PartialEq + 'static;
    /// All zeroes.
    const ZERO: Self::Word;
    /// The value in its place.
    fn word(&self) -> Self::Word;
    /// A twin with this value.
    fn twin(word: Self::Word) -> Self::Atomic;
}

/// loom's atomic, and the value it left in its place.
pub(crate) struct Pair<T: Twin> {
    atomic: T::Atomic,
    left: Cell<T::Word>,
}

impl<T: Twin> Pair<T> {
    pub(crate) fn atomic(&self) -> &T::Atomic {
        &self.atomic
    }
    pub(crate) fn set(&self, word: T::Word) {
        self.left.set(word);
    }
}

/// An access to a cell.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Access {
    /// Not by several threads at once.
    Write,
    /// By several.
    Read,
}

type Twins = HashMap<usize, Rc<dyn Any>>;

/// Twins of each kind that are made before a model's threads are.
const SPARE: usize = 40;

std::thread_local! {
    // loom's threads are all one thread of the host's.
    static ATOMICS: RefCell<Twins> = RefCell::default();
    static CELLS: RefCell<HashMap<usize, Rc<loom::cell::UnsafeCell<()>>>> = RefCell::default();
    /// Whether there are several threads.
    static THREADS: Cell<bool> = const { Cell::new(false) };
    static SPARES: RefCell<HashMap<TypeId, Vec<Rc<dyn Any>>>> = RefCell::default();
    static SPARE_CELLS: RefCell<Vec<Rc<loom::cell::UnsafeCell<()>>>> = RefCell::default();
}

/// The twin of `atomic`.
pub(crate) fn of<T: Twin + 'static>(atomic: &T) -> Rc<Pair<T>> {
    let at = core::ptr::from_ref(atomic).addr();
    let word = atomic.word();
    let known =
        ATOMICS.with_borrow(|all| all.get(&at).cloned()).and_then(|twin| twin.downcast::<Pair<T>>().ok());
    if let Some(twin) = known
        && twin.left.get() == word
    {
        return twin;
    }
    let spare = (word == T::ZERO && THREADS.get())
        .then(|| SPARES.with_borrow_mut(|all| all.get_mut(&TypeId::of::<T>())?.pop()))
        .flatten()
        .and_then(|twin| twin.downcast::<Pair<T>>().ok());
    let twin = spare.unwrap_or_else(|| pair(word));
    ATOMICS.with_borrow_mut(|all| all.insert(at, twin.clone()));
    twin
}

fn pair<T: Twin + 'static>(word: T::Word) -> Rc<Pair<T>> {
    Rc::new(Pair { atomic: T::twin(word), left: Cell::new(word) })
}

fn spares<T: Twin + 'static>() {
    let new = (0..SPARE).map(|_| pair::<T>(T::ZERO) as Rc<dyn Any>).collect();
    SPARES.with_borrow_mut(|all| all.insert(TypeId::of::<T>(), new));
}

/// Ends the twin of `atomic`.
pub(crate) fn forget<T>(atomic: &T) {
    let _ = ATOMICS.try_with(|all| all.borrow_mut().remove(&core::ptr::from_ref(atomic).addr()));
}

/// An access to the cell at `at`.
pub(crate) fn cell(at: usize, access: Access) {
    if !crate::explore::is_active() {
        return;
    }
    let spare = || if THREADS.get() { SPARE_CELLS.with_borrow_mut(Vec::pop) } else { None };
    let new = || spare().unwrap_or_default();
    let cell = CELLS.with_borrow_mut(|all| all.entry(at).or_insert_with(new).clone());
    match access {
        Access::Write => cell.with_mut(|_| ()),
        Access::Read => cell.with(|_| ()),
    }
}

/// Ends the twin of the cell at `at`.
pub(crate) fn forget_cell(at: usize) {
    let _ = CELLS.try_with(|all| all.borrow_mut().remove(&at));
}

/// From here on a new twin seems to be made by one thread while others look.
pub(crate) fn threads_begin() {
    THREADS.set(true);
}

/// A new execution begins.
pub(crate) fn begin() {
    THREADS.set(false);
    drop(ATOMICS.take());
    drop(CELLS.take());
    SPARE_CELLS.set((0..SPARE).map(|_| Rc::default()).collect());
    spares::<AtomicBool>();
    spares::<AtomicU8>();
    spares::<AtomicU16>();
    spares::<AtomicU32>();
    spares::<AtomicU64>();
}
