//! Identifiers, references, object kinds and errors.

/// A system-wide unique object identifier, never reused: creating core (12 bits), that core's
/// counter (44 bits). 0 names nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Id(pub u64);

impl Id {
    /// Bits of the per-core counter.
    pub const COUNTER_BITS: u32 = 44;
    /// The null identifier.
    pub const NULL: Self = Self(0);

    /// The `counter`-th identifier that `core` made.
    #[must_use]
    #[inline(always)]
    pub const fn new(core: u16, counter: u64) -> Self {
        Self((core as u64) << Self::COUNTER_BITS | counter & ((1 << Self::COUNTER_BITS) - 1))
    }

    /// The core that made it.
    #[must_use]
    pub const fn core(self) -> u16 {
        (self.0 >> Self::COUNTER_BITS) as u16
    }
}

/// How a program names an object: through a share its core holds. A share is named by
/// `⟨share, share⟩` or through its parent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ObjRef {
    /// A share the calling core holds.
    pub share: Id,
    /// An object that share names.
    pub object: Id,
}

/// An address in the caller's address space (over a ring: an offset in its argument segment).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct UserPtr(pub u64);

/// The core whose memory holds an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// This core's memory. Another core's memory may be named when its pcore is in the caller's
    /// shares or the core is free.
    Core(u16),
    /// The nearest core with memory, starting with the caller's.
    Any,
}

impl Home {
    const ANY_WORD: u64 = 0xffff;

    /// Decodes a core number; `0xffff` is [`Home::Any`].
    ///
    /// # Errors
    ///
    /// [`Error::BadArgument`] for a number no core can have.
    #[inline(always)]
    pub fn from_word(word: u64) -> Result<Self, Error> {
        match word {
            Self::ANY_WORD => Ok(Self::Any),
            0..0x1000 => Ok(Self::Core(word as u16)),
            _ => Err(Error::BadArgument),
        }
    }

    /// Encodes as [`Home::from_word`] decodes.
    #[must_use]
    #[inline(always)]
    pub fn to_word(self) -> u64 {
        match self {
            Self::Core(core) => u64::from(core),
            Self::Any => Self::ANY_WORD,
        }
    }
}

/// Kind of an object, and bit number in [`Kinds`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Maps object IDs to objects.
    Share = 0,
    /// Physical memory.
    Segment = 1,
    /// Address tree, root or interior.
    AddressTree = 2,
    /// A processor core.
    Pcore = 3,
    /// A device.
    Device = 4,
}

bitflags::bitflags! {
    /// A set of object kinds.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Kinds: u64 {
        /// Shares.
        const SHARE = 1 << Kind::Share as u64;
        /// Segments.
        const SEGMENT = 1 << Kind::Segment as u64;
        /// Address trees.
        const ADDRESS_TREE = 1 << Kind::AddressTree as u64;
        /// pcores.
        const PCORE = 1 << Kind::Pcore as u64;
        /// Devices.
        const DEVICE = 1 << Kind::Device as u64;
    }
}

impl From<Kind> for Kinds {
    #[inline(always)]
    fn from(kind: Kind) -> Self {
        Self::from_bits_truncate(1 << kind as u64)
    }
}

/// Bytes of an object's name.
pub const NAME_BYTES: usize = 32;

/// An object's name: at most 31 bytes and a zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Name(pub [u8; NAME_BYTES]);

impl Name {
    /// `text`, cut after 31 bytes.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut name = [0; NAME_BYTES];
        for (to, from) in name.iter_mut().take(NAME_BYTES - 1).zip(text.bytes()) {
            *to = from;
        }
        Self(name)
    }

    /// The name as text; what is no UTF-8 reads as `?`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let bytes = self.0.split(|b| *b == 0).next().unwrap_or(&[]);
        core::str::from_utf8(bytes).unwrap_or("?")
    }
}

macro_rules! errors {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal,)*) => {
        /// Why a call failed. A failed call changed nothing unless its row says otherwise.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Error { $($(#[doc = $doc])* $name = $code,)* }

        impl Error {
            /// Every error with its code and meaning, for the manual.
            pub const ALL: &[(Self, &str)] = &[$((Self::$name, concat!($($doc),*)),)*];

            /// Its name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The error with this code.
            #[must_use]
            pub fn from_code(code: u64) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
        }
    };
}

errors! {
    /// No such share is held, or the share names no such object.
    NotFound = 1,
    /// The object is of another kind.
    WrongKind = 2,
    /// The share may not hold this kind, or the authority does not reach this object or core.
    NotPermitted = 3,
    /// An argument word is no value of its type.
    BadArgument = 4,
    /// A user address that is not mapped, or not mapped for this access.
    BadAddress = 5,
    /// An offset, length or address outside the object or the address space.
    OutOfRange = 6,
    /// No call has this number.
    BadSyscall = 7,
    /// No core that may be asked has memory left.
    NoMemory = 8,
    /// The share's quota of pages or objects is used up.
    QuotaExceeded = 9,
    /// In use: the core is taken, the tree runs elsewhere, or the slots overlap.
    Busy = 10,
    /// Not aligned as the call demands.
    Misaligned = 11,
    /// Already there.
    Exists = 12,
    /// A table inside the kernel has no room; the row names its size.
    Full = 13,
    /// The wait ended by time-out.
    TimedOut = 14,
    /// A core this needed does not answer, or had stopped in the middle of a change of what this needed.
    CoreLost = 15,
    /// This kernel does not have it yet.
    Unsupported = 16,
    /// The device could not do it, or was reset before it had.
    DeviceFailed = 17,
}
