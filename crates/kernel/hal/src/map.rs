//! Names for kernel data: what the line meter's addresses are.

/// A named part of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in the source.
    pub name: &'static str,
    /// First byte.
    pub at: usize,
    /// Bytes.
    pub bytes: usize,
}

/// Kernel data another core may look at: one value, or an array of values of one type.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    /// What it is.
    pub name: &'static str,
    /// Its virtual address.
    pub address: u64,
    /// Bytes in all.
    pub bytes: u64,
    /// Bytes of an element.
    pub element: u64,
    /// Parts of an element.
    pub fields: &'static [Field],
}

impl Area {
    /// The area of `values`.
    #[must_use]
    pub fn of<T>(name: &'static str, values: &[T], fields: &'static [Field]) -> Self {
        Self {
            name,
            address: values.as_ptr() as u64,
            bytes: size_of_val(values) as u64,
            element: size_of::<T>() as u64,
            fields,
        }
    }
}

/// Bytes of a field, for [`fields!`](crate::fields).
#[must_use]
pub const fn bytes_of<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

/// The fields of a type, as an array of [`Field`]: `fields!(Type: first, second)`.
#[macro_export]
macro_rules! fields {
    ($type:ty: $($field:ident),* $(,)?) => {
        &[$($crate::Field {
            name: stringify!($field),
            at: ::core::mem::offset_of!($type, $field),
            bytes: $crate::bytes_of(|value: &$type| &value.$field),
        }),*]
    };
}
