//! Argument and result words: how typed values travel in registers or ring slots.

use crate::{Error, Home, Id, Kinds, ObjRef, UserPtr};

/// One register or ring word.
pub type Word = u64;

/// A value that travels in [`Arg::WORDS`] words.
pub trait Arg: Sized {
    /// Words used.
    const WORDS: usize;

    /// Reads and validates a value.
    ///
    /// # Errors
    ///
    /// [`Error::BadArgument`] when the words are no value of this type.
    fn decode(words: &mut Reader<'_>) -> Result<Self, Error>;

    /// Writes the value.
    fn encode(self, words: &mut Writer<'_>);
}

/// Takes words from the front of a list.
#[derive(Debug)]
pub struct Reader<'a>(pub &'a [Word]);

impl Reader<'_> {
    /// The next word; the table's const assertions guarantee that there is one.
    #[inline(always)]
    fn word(&mut self) -> Result<Word, Error> {
        let (first, rest) = self.0.split_first().ok_or(Error::BadArgument)?;
        self.0 = rest;
        Ok(*first)
    }

    /// The next value.
    ///
    /// # Errors
    ///
    /// As [`Arg::decode`].
    #[inline(always)]
    pub fn take<A: Arg>(&mut self) -> Result<A, Error> {
        A::decode(self)
    }
}

/// Appends words to a list; words beyond its end are dropped (the table's const assertions rule that out).
#[derive(Debug)]
pub struct Writer<'a>(pub &'a mut [Word], pub usize);

impl Writer<'_> {
    #[inline(always)]
    fn word(&mut self, word: Word) {
        if let Some(slot) = self.0.get_mut(self.1) {
            *slot = word;
            self.1 += 1;
        }
    }
}

macro_rules! one_word {
    ($($ty:ty: $word:ident => $from:expr, $value:ident => $to:expr;)*) => { $(
        impl Arg for $ty {
            const WORDS: usize = 1;
            #[inline(always)]
            fn decode(words: &mut Reader<'_>) -> Result<Self, Error> {
                let $word = words.word()?;
                $from
            }
            #[inline(always)]
            fn encode(self, words: &mut Writer<'_>) {
                let $value = self;
                words.word($to);
            }
        }
    )* };
}

one_word! {
    u64: w => Ok(w), v => v;
    Id: w => Ok(Id(w)), v => v.0;
    UserPtr: w => Ok(UserPtr(w)), v => v.0;
    Home: w => Home::from_word(w), v => v.to_word();
    Kinds: w => Kinds::from_bits(w).ok_or(Error::BadArgument), v => v.bits();
}

impl Arg for () {
    const WORDS: usize = 0;
    #[inline(always)]
    fn decode(_: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(())
    }
    #[inline(always)]
    fn encode(self, _: &mut Writer<'_>) {}
}

impl Arg for ObjRef {
    const WORDS: usize = 2;
    #[inline(always)]
    fn decode(words: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self { share: words.take()?, object: words.take()? })
    }
    #[inline(always)]
    fn encode(self, words: &mut Writer<'_>) {
        self.share.encode(words);
        self.object.encode(words);
    }
}
