//! The benchmarks themselves: workers on their processors, operations, outcome.

use std::net::TcpListener;
use std::sync::atomic::Ordering::Relaxed;

use corey_arch_x86_64_user::marker;
use corey_lib_bench::files::SAME;
use corey_lib_bench::region::Order;
use corey_lib_bench::{Lock, Machine, Place, run_region, table};

use crate::arena::{Arena, Mapping, Visibility};
use crate::figures::Interrupts;
use crate::guest::{self, Failure};
use crate::heap::{self, Malloc, Told};
use crate::{fig1, files, ring, run, rwlock, tcp, vm};

/// One variant at one core count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    /// Marker id.
    pub(crate) id: u32,
    /// Workers.
    pub(crate) cores: u32,
    /// Operations per worker.
    pub(crate) iters: u64,
    /// Whether workers take turns.
    pub(crate) turn: bool,
    /// Whose malloc `heap` uses.
    pub(crate) malloc: Malloc,
}

impl Job {
    /// Pages the job touches.
    pub(crate) fn pages(&self) -> u64 {
        match self.id / 16 {
            2 => self.iters.saturating_mul(u64::from(self.cores)),
            3 => self.iters,
            // A file's and a buffer's.
            4 | 11 | 12 => 2 * u64::from(self.cores),
            6 if self.id == table::VM_INTERIOR_64 => 64 * u64::from(self.cores),
            // A page and its copy.
            6 if self.id == table::VM_COW => self.iters.saturating_mul(2 * u64::from(self.cores)),
            // Two blocks of 256 bytes at most, and addresses.
            9 => (self.iters / 7).saturating_mul(u64::from(self.cores)),
            10 => u64::from(self.cores),
            14 => 512 * u64::from(self.cores),
            _ => 0,
        }
    }

    /// System calls inside the region: the operation's own, where the C library makes none for us.
    pub(crate) fn syscalls(&self) -> Option<u64> {
        let each = match self.id {
            table::NULL_CURRENT | table::NULL_NBYTES | table::FIG1_SHOOTDOWN | table::VM_INTERIOR_64 => 1,
            table::VM_PRIVATE | table::VM_INTERIOR | table::VM_OBJECT => 2,
            table::OPEN_OWN => 2,
            // accept, write, close.
            table::TCP_KERNELCORE | table::TCP_STACK | table::TCP_SHARED => 3,
            // By how much there is at a time.
            id if id / 16 == 5 => return None,
            table::LARGE_PRIVATE => 3,
            table::RUN_DEFAULT | table::CFORK_DEFAULT => return None,
            // What malloc asks of the kernel is not counted.
            id if id / 16 == 9 => return None,
            id if id / 16 == 4 || id / 16 == 11 => 1,
            _ => 0,
        };
        Some(each * self.iters * u64::from(self.cores))
    }

    fn order(&self) -> Order {
        match (self.id / 16, self.turn) {
            (3, _) => Order::Hops,
            // Frames come whoever's turn it is, and interrupts with them.
            (5, _) => Order::Free,
            (_, true) => Order::Turns,
            (_, false) => Order::Free,
        }
    }

    fn workers(&self) -> Workers {
        match self.id {
            table::MEMCLONE_PRIVATE
            | table::PAGEPASS_SEPARATE
            | table::VM_PRIVATE
            | table::VM_COW
            | table::CFORK_DEFAULT
            | table::LARGE_PRIVATE => Workers::Processes,
            _ => Workers::Threads,
        }
    }
}

enum Workers {
    Threads,
    Processes,
}

/// What a job gave.
#[derive(Debug)]
pub(crate) struct Result {
    pub(crate) ns: u64,
    pub(crate) per_core_ns: Vec<u64>,
    pub(crate) faults: u64,
    pub(crate) ipis: u64,
    pub(crate) shootdowns: u64,
}

pub(crate) struct Linux;

impl Machine for Linux {
    #[inline(always)]
    fn marker<const ID: u32, const KIND: u32>(&self) {
        marker::marker::<ID, KIND>();
    }
    #[inline(always)]
    fn pause(&self) {
        marker::pause();
    }
    fn now_ns(&self) -> u64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a valid place for the answer; this clock always exists.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}

/// Runs a job to its end.
pub(crate) fn go(job: Job, listeners: &[TcpListener]) -> std::result::Result<Result, Failure> {
    let arena_memory = Mapping::new(size_of::<Arena>(), Visibility::Shared)?;
    let common = match job.id {
        table::PAGEPASS_INTERIOR | table::MEMCLONE_SHARED | table::FIG1_LATENCY => Some(Visibility::Private),
        table::PAGEPASS_SEPARATE => Some(Visibility::Shared),
        _ => None,
    };
    let told = Told::new(job.cores);
    let bytes = job.pages() as usize * 4096;
    let pages = common.map(|visibility| Mapping::new(bytes, visibility)).transpose()?;
    match job.workers() {
        Workers::Threads => std::thread::scope(|scope| {
            for core in 0..job.cores {
                let (arena_memory, pages, told) = (&arena_memory, pages.as_ref(), &told);
                scope.spawn(move || worker_or_fail(job, core, arena_memory, pages, told, listeners));
            }
        }),
        Workers::Processes => run_processes(job, &arena_memory, pages.as_ref(), &told)?,
    }
    let outcomes = &arena_memory.arena().outcomes[..job.cores as usize];
    let start = outcomes.iter().map(|o| o.start_ns.load(Relaxed)).min().unwrap_or(0);
    let end = outcomes.iter().map(|o| o.end_ns.load(Relaxed)).max().unwrap_or(0);
    Ok(Result {
        ns: end - start,
        per_core_ns: outcomes.iter().map(|o| o.end_ns.load(Relaxed) - o.start_ns.load(Relaxed)).collect(),
        faults: outcomes.iter().map(|o| o.faults.load(Relaxed)).sum(),
        ipis: outcomes[0].ipis.load(Relaxed),
        shootdowns: outcomes[0].shootdowns.load(Relaxed),
    })
}

fn run_processes(
    job: Job,
    arena: &Mapping,
    pages: Option<&Mapping>,
    told: &Told,
) -> std::result::Result<(), Failure> {
    let mut children = Vec::new();
    for core in 0..job.cores {
        // SAFETY: no other thread exists here, so the child may go on as this program.
        match unsafe { libc::fork() } {
            -1 => return Err(Failure::last("fork")),
            0 => {
                worker_or_fail(job, core, arena, pages, told, &[]);
                // SAFETY: ends the child without running the parent's exit handlers.
                unsafe { libc::_exit(0) };
            }
            child => children.push(child),
        }
    }
    for child in children {
        let mut status = 0;
        // SAFETY: `child` is our own child and `status` a valid place for its status.
        if unsafe { libc::waitpid(child, &raw mut status, 0) } != child || status != 0 {
            return Err(Failure::panic(format!("worker {child} ended with status {status:#x}")));
        }
    }
    Ok(())
}

/// A worker that fails ends the machine: the others would wait for it at the barrier.
fn worker_or_fail(
    job: Job,
    core: u32,
    arena: &Mapping,
    pages: Option<&Mapping>,
    told: &Told,
    listeners: &[TcpListener],
) {
    if let Err(failure) = worker(job, core, arena, pages, told, listeners) {
        guest::fail(&failure);
    }
}

fn worker(
    job: Job,
    core: u32,
    arena: &Mapping,
    pages: Option<&Mapping>,
    told: &Told,
    listeners: &[TcpListener],
) -> std::result::Result<(), Failure> {
    pin(core)?;
    arena.populate()?;
    let own = match job.id {
        table::MEMCLONE_INTERIOR | table::MEMCLONE_PRIVATE => {
            Some(Mapping::new(job.iters as usize * 4096, Visibility::Private)?)
        }
        _ => None,
    };
    let copied = if job.id == table::VM_COW { Some(vm::Copied::new(job.iters)?) } else { None };
    let file = if job.id == table::NULL_NBYTES { memory_file()? } else { -1 };
    let arena = arena.arena();
    let place =
        Place { meeting: &arena.meeting, core, cores: job.cores, iters: job.iters, order: job.order() };
    let pages = pages.or(own.as_ref());
    let first = match job.id {
        table::MEMCLONE_SHARED => u64::from(core) * job.iters,
        _ => 0,
    };
    let touch = |index| pages.expect("these jobs have pages").touch(first + index);
    let before = if core == 0 { Interrupts::read()? } else { Interrupts::default() };
    let faults = faults_so_far()?;
    let span = match job.id {
        table::NULL_CURRENT => run_region::<{ table::NULL_CURRENT }, _>(&Linux, place, |_| {
            call3(libc::SYS_getpid, 0, 0, 0);
        }),
        table::NULL_NBYTES => run_region::<{ table::NULL_NBYTES }, _>(&Linux, place, |_| {
            call3(libc::SYS_lseek, file as u64, 0, libc::SEEK_END as u64);
        }),
        table::MEMCLONE_INTERIOR => run_region::<{ table::MEMCLONE_INTERIOR }, _>(&Linux, place, touch),
        table::MEMCLONE_SHARED => run_region::<{ table::MEMCLONE_SHARED }, _>(&Linux, place, touch),
        table::MEMCLONE_PRIVATE => run_region::<{ table::MEMCLONE_PRIVATE }, _>(&Linux, place, touch),
        table::PAGEPASS_INTERIOR => run_region::<{ table::PAGEPASS_INTERIOR }, _>(&Linux, place, touch),
        table::PAGEPASS_SEPARATE => run_region::<{ table::PAGEPASS_SEPARATE }, _>(&Linux, place, touch),
        table::VM_PRIVATE => vm::map::<{ table::VM_PRIVATE }>(place)?,
        table::VM_INTERIOR => vm::map::<{ table::VM_INTERIOR }>(place)?,
        table::VM_COW => {
            let copied = copied.as_ref().expect("this job has a copy");
            run_region::<{ table::VM_COW }, _>(&Linux, place, |page| copied.touch(page))
        }
        table::VM_OBJECT => vm::object(place)?,
        table::VM_INTERIOR_64 => vm::unmap_64(place)?,
        table::LARGE_PRIVATE => vm::large(place)?,
        table::RING_DEPTH_1 => ring::calls::<{ table::RING_DEPTH_1 }>(place, 1)?,
        table::RING_DEPTH_32 => ring::calls::<{ table::RING_DEPTH_32 }>(place, 32)?,
        table::CFORK_DEFAULT => run::fork(place)?,
        table::RUN_DEFAULT => run::thread(place)?,
        table::FIG1_LATENCY => fig1::latency(place, pages.expect("this job has pages"))?,
        table::FIG1_LOCK => fig1::lock::<{ table::FIG1_LOCK }>(place, &Lock::default()),
        table::FIG1_LOCKCONTENDED => fig1::lock::<{ table::FIG1_LOCKCONTENDED }>(place, &arena.lock),
        table::FIG1_SHOOTDOWN => fig1::shootdown(place)?,
        table::PREAD_SAME => files::pread::<{ table::PREAD_SAME }>(place, SAME)?,
        table::PREAD_OWN => files::pread::<{ table::PREAD_OWN }>(place, core)?,
        table::PWRITE_FULL_OWN => files::pwrite::<{ table::PWRITE_FULL_OWN }>(place, core, files::whole)?,
        table::PWRITE_FULL_SAME => files::pwrite::<{ table::PWRITE_FULL_SAME }>(place, SAME, files::whole)?,
        table::PWRITE_PART_OWN => files::pwrite::<{ table::PWRITE_PART_OWN }>(place, core, files::some)?,
        table::PWRITE_PART_SAME => files::pwrite::<{ table::PWRITE_PART_SAME }>(place, SAME, files::some)?,
        table::OPEN_OWN => files::open_close(place, core)?,
        table::RWLOCK_OURS => rwlock::ours(place, &arena.locks)?,
        table::RWLOCK_WORD => rwlock::word(place, &arena.locks),
        table::RWLOCK_TICKET => rwlock::ticket(place, &arena.locks),
        id if id / 16 == 5 => tcp::serve(id, place, listeners)?,
        id if id / 16 == 9 => heap::run(&Linux, job, place, told)?,
        other => {
            return Err(Failure::panic(format!("benchmark id {other:#x} has no peer")));
        }
    };
    let outcome = &arena.outcomes[core as usize];
    outcome.faults.store(faults_so_far()? - faults, Relaxed);
    outcome.start_ns.store(span.start_ns, Relaxed);
    outcome.end_ns.store(span.end_ns, Relaxed);
    if core == 0 {
        let after = Interrupts::read()?;
        outcome.ipis.store(after.ipis - before.ipis, Relaxed);
        outcome.shootdowns.store(after.shootdowns - before.shootdowns, Relaxed);
    }
    Ok(())
}

/// Binds the calling thread to processor `core`.
fn pin(core: u32) -> std::result::Result<(), Failure> {
    bind(&[core])
}

/// Binds the calling thread to `processors`.
pub(crate) fn bind(processors: &[u32]) -> std::result::Result<(), Failure> {
    let mut mask = [0_u64; 16];
    for processor in processors {
        mask[*processor as usize / 64] |= 1 << (processor % 64);
    }
    let size = size_of_val(&mask);
    // SAFETY: the mask is `size` bytes of processor bits.
    match unsafe { libc::sched_setaffinity(0, size, mask.as_ptr().cast()) } {
        0 => Ok(()),
        _ => Err(Failure::last("sched_setaffinity")),
    }
}

/// Makes a file in memory, 4,096 bytes long.
pub(crate) fn memory_file() -> std::result::Result<i32, Failure> {
    // SAFETY: a zero-terminated name and no flags.
    let file = unsafe { libc::memfd_create(c"nbytes".as_ptr(), 0) };
    // SAFETY: only changes the length of the file just made; a bad descriptor is an error.
    if file < 0 || unsafe { libc::ftruncate(file, 4096) } != 0 {
        return Err(Failure::last("memfd"));
    }
    Ok(file)
}

/// Minor faults of the calling thread since it began.
fn faults_so_far() -> std::result::Result<u64, Failure> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the place is large enough for the answer.
    if unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) } != 0 {
        return Err(Failure::last("getrusage"));
    }
    // SAFETY: zeroed is valid for a structure of integers, and the kernel filled it in.
    Ok(unsafe { usage.assume_init() }.ru_minflt as u64)
}

/// A system call without the C library around it, as lean as our own stub.
#[inline(always)]
pub(crate) fn call3(number: i64, a: u64, b: u64, c: u64) -> i64 {
    let result;
    // SAFETY: callers pass only calls that touch no memory of this program, or read a name that is there.
    unsafe {
        std::arch::asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b,
            in("rdx") c, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}
