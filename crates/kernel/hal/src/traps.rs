//! What the machine's entry code asks of one core's kernel.

/// A fresh user context. All registers not named are zero, the FPU is in its initial state,
/// interrupts are on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct UserContext {
    /// First instruction. Canonical, in the user half (the kernel checked).
    pub entry: u64,
    /// Stack pointer.
    pub stack: u64,
    /// rdi, rsi, rdx, rcx, r8, r9.
    pub args: [u64; 6],
}

/// The interrupted user registers, saved by the entry code; upcalls rewrite them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Registers {
    /// r15 r14 r13 r12 r11 r10 r9 r8 rbp rdi rsi rdx rcx rbx rax, in this order: as the entry code pushes them.
    pub general: [u64; 15],
    /// Instruction pointer.
    pub rip: u64,
    /// Code segment.
    pub cs: u64,
    /// Flags.
    pub rflags: u64,
    /// Stack pointer.
    pub rsp: u64,
    /// Stack segment.
    pub ss: u64,
}

/// Why user code faulted on a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An instruction fetch.
    Fetch,
}

/// A page fault from user mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The address that faulted; any 64-bit value.
    pub address: u64,
    /// The kind of access.
    pub cause: Cause,
    /// The processor's error code, for the report.
    pub code: u64,
}

/// What the core does when it leaves the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Continue the interrupted user context. From a system call: return these two words in rax and rdx.
    Resume([u64; 2]),
    /// Start this user context afresh on an empty kernel stack.
    Enter(UserContext),
    /// Nothing to run: wait for an interrupt with interrupts on, then call [`Traps::idle`].
    Idle,
}

/// One core's kernel, as the entry code sees it. Always called with interrupts off, on this core's
/// kernel stack, never nested.
pub trait Traps: 'static {
    /// A `syscall` instruction.
    fn syscall(&mut self, number: u64, args: [u64; 6]) -> Outcome;

    /// A page fault from user mode. `Resume`'s words are ignored.
    fn page_fault(&mut self, fault: Fault, registers: &mut Registers) -> Outcome;

    /// Any other exception from user mode.
    fn exception(&mut self, vector: u8, code: u64, registers: &mut Registers) -> Outcome;

    /// An inter-processor interrupt (mailbox) or spurious interrupt, already acknowledged; in user
    /// mode `registers` are the interrupted ones.
    fn interrupt(&mut self, registers: &mut Registers) -> Outcome;

    /// The timer of [`crate::Platform::set_timer`] went off in user mode.
    fn tick(&mut self, registers: &mut Registers) -> Outcome;

    /// The core is idle: serve the mailbox and say what to do next.
    fn idle(&mut self) -> Outcome;
}
