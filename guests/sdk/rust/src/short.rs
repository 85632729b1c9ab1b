//! A few bytes, compared and copied by their first and last eight or sixteen, which are all. Else either is a call: one that compares a byte at a
//! time, and one of the host.

use alloc::vec::Vec;
use core::mem::MaybeUninit;

/// Whether these are the same.
#[inline(always)]
pub(crate) fn same(these: &[u8], those: &[u8]) -> bool {
    /// What differs does so mostly at its end.
    #[inline(always)]
    fn ends<const N: usize>(these: &[u8], those: &[u8]) -> bool {
        these.last_chunk::<N>() == those.last_chunk()
            && these.first_chunk::<N>() == those.first_chunk()
    }
    these.len() == those.len()
        && match these.len() {
            8..=16 => ends::<8>(these, those),
            17..=32 => ends::<16>(these, those),
            _ => these == those,
        }
}

/// Appends these.
#[inline(always)]
pub(crate) fn append(into: &mut Vec<u8>, bytes: &[u8]) {
    #[inline(always)]
    fn ends<const N: usize>(into: &mut [MaybeUninit<u8>], bytes: &[u8]) -> Option<()> {
        let (first, last) = (bytes.first_chunk::<N>()?, bytes.last_chunk::<N>()?);
        *into.first_chunk_mut()? = first.map(MaybeUninit::new);
        *into.last_chunk_mut()? = last.map(MaybeUninit::new);
        Some(())
    }
    into.reserve(bytes.len());
    let written = into.spare_capacity_mut().get_mut(..bytes.len());
    let written = written.and_then(|room| match bytes.len() {
        8..=16 => ends::<8>(room, bytes),
        17..=32 => ends::<16>(room, bytes),
        _ => None,
    });
    match written {
        // SAFETY: there was room for so many bytes, and all of them were written.
        Some(()) => unsafe { into.set_len(into.len() + bytes.len()) },
        None => into.extend_from_slice(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_any_number_are_appended_and_compared() {
        for count in 0..40u8 {
            let bytes: Vec<u8> = (0..count).collect();
            let mut appended = Vec::from([7]);
            append(&mut appended, &bytes);
            assert!(appended[0] == 7 && same(&appended[1..], &bytes));
            assert!(!same(&appended, &bytes));
            for changed in 0..usize::from(count) {
                let mut other = bytes.clone();
                other[changed] ^= 1;
                assert!(!same(&other, &bytes), "{changed} of {count}");
            }
        }
    }
}
