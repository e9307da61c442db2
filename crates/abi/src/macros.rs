//! Expands the table into numbers, traits, a dispatcher, stubs and a data table.

/// The system-call table's grammar; used once, in `table.rs`.
///
/// From each row come the call's number ([`number`]), a method of the interface's trait (which the
/// object crate implements: a missing implementation does not compile), an arm of [`dispatch`], a
/// stub of [`Client`] over any [`Transport`](crate::Transport), and an entry of [`SYSCALLS`] for the
/// manual. A number used twice is an unreachable pattern, and does not compile either.
macro_rules! syscalls {
    ($(
        $(#[doc = $idoc:literal])*
        interface $slot:ident: $iface:ident {
            $( $(#[doc = $doc:literal])* $num:literal => fn $name:ident($($arg:ident : $ty:ty),* $(,)?) -> $ret:ty; )*
        }
    )*) => {
        /// System-call numbers.
        #[allow(non_upper_case_globals, reason = "named after the call")]
        pub mod number { $($(
            $(#[doc = $doc])*
            pub const $name: u64 = $num;
        )*)* }

        $(
            $(#[doc = $idoc])*
            #[allow(clippy::too_many_arguments, reason = "a call has up to six argument words")]
            pub trait $iface {
                $( $(#[doc = $doc])* fn $name(&mut self, $($arg: $ty),*) -> Result<$ret, $crate::Error>; )*
            }
        )*

        /// What a kernel provides: one implementation of each interface.
        pub trait Kernel {
            $( $(#[doc = $idoc])* fn $slot(&mut self) -> impl $iface; )*
        }

        /// Decodes raw call `number`, runs it and encodes its result.
        ///
        /// Each call is a function of its own: a cheap one does not pay for the frame of a costly one.
        ///
        /// # Errors
        ///
        /// [`Error::BadSyscall`] or what the call itself returns, encoded as
        /// [`from_registers`](crate::from_registers) decodes.
        #[inline(always)]
        pub fn dispatch<K: Kernel>(k: K, number: u64, args: [$crate::Word; 6]) -> [$crate::Word; 2] {
            let [a, b, c, d, e, f] = args;
            // Words travel in registers: each call takes only those it reads, and returns two.
            #[deny(unreachable_patterns)]
            let words: u128 = match number {
                $($( $num => {
                    #[inline(never)]
                    fn $name<K: Kernel>(
                        a: $crate::Word, b: $crate::Word, c: $crate::Word,
                        d: $crate::Word, e: $crate::Word, f: $crate::Word, mut k: K,
                    ) -> u128 {
                        let mut run = move || {
                            let args = [a, b, c, d, e, f];
                            let mut out = [0; 2];
                            let mut r = $crate::Reader(&args);
                            let _ = &mut r;
                            $( let $arg: $ty = r.take()?; )*
                            $crate::Arg::encode(k.$slot().$name($($arg),*)?, &mut $crate::Writer(&mut out, 0));
                            Ok(out)
                        };
                        let [low, high] = $crate::to_registers(run());
                        u128::from(low) | u128::from(high) << 64
                    }
                    $name(a, b, c, d, e, f, k)
                } )*)*
                _ => u128::from((Error::BadSyscall as u64).wrapping_neg()),
            };
            [words as u64, (words >> 64) as u64]
        }

        /// Typed stubs over any [`Transport`](crate::Transport).
        #[derive(Clone, Copy, Debug, Default)]
        pub struct Client<T>(pub T);
        $(
            impl<T: $crate::Transport> $iface for Client<T> {
                $(
                    #[inline(always)]
                    fn $name(&mut self, $($arg: $ty),*) -> Result<$ret, $crate::Error> {
                        let mut words = [0; 6];
                        let w = &mut $crate::Writer(&mut words, 0);
                        $( $crate::Arg::encode($arg, w); )*
                        let _ = w;
                        $crate::Reader(&self.0.call::<{ 0 $(+ <$ty as $crate::Arg>::WORDS)* }>($num, words)?).take()
                    }
                )*
            }
        )*
        $($( const _: () = assert!(
            0 $(+ <$ty as $crate::Arg>::WORDS)* <= 6 && <$ret as $crate::Arg>::WORDS <= 2,
            concat!(stringify!($name), ": too many words"),
        ); )*)*

        /// The table as data.
        pub const SYSCALLS: &[$crate::SyscallInfo] = &[ $($(
            $crate::SyscallInfo {
                number: $num, name: stringify!($name), interface: stringify!($iface),
                doc: &[$($doc),*], args: &[$(concat!(stringify!($arg), ": ", stringify!($ty))),*],
                ret: stringify!($ret),
            },
        )*)* ];
    };
}
pub(crate) use syscalls;
