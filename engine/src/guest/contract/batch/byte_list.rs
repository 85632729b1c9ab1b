//! A batch's bytes as a list of the guest: copied in one step.
//!
//! Wasmtime stores lists of bytes by a loop of its own. The C library's copy is faster, above all of bytes that no cache near has.

use std::mem::MaybeUninit;

use wasmtime::component::__internal::{
    CanonicalAbiInfo, InstanceType, InterfaceType, LowerContext,
};
use wasmtime::component::{ComponentType, Lower};
use wasmtime::{Result, ValRaw, bail};

use crate::copy::copy;

/// A `list<u8>` to be lowered.
#[derive(Debug, Clone, Copy)]
pub(super) struct ByteList<'a>(pub(super) &'a [u8]);

#[allow(
    unsafe_code,
    reason = "the trait is, since Wasmtime relies on it; with the next it saves one nanosecond in sixteen of a small message's whole cost"
)]
// SAFETY: all of it is a slice's, and so is the type that it is checked to be.
unsafe impl ComponentType for ByteList<'_> {
    type Lower = <[u8] as ComponentType>::Lower;
    const ABI: CanonicalAbiInfo = <[u8] as ComponentType>::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        <[u8]>::typecheck(ty, types)
    }
}

#[allow(unsafe_code, reason = "as above")]
// SAFETY: a place and a length are written, as a slice's are. The bytes go into a slice of the guest's memory, whose bounds are checked, at
// the place that its own allocator gave.
unsafe impl Lower for ByteList<'_> {
    fn linear_lower_to_flat<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        _: InterfaceType,
        to: &mut MaybeUninit<Self::Lower>,
    ) -> Result<()> {
        let at = cx.realloc(0, 0, 1, self.0.len())?;
        copy(&mut cx.as_slice_mut()[at..][..self.0.len()], self.0);
        to.write([ValRaw::i64(at as i64), ValRaw::i64(self.0.len() as i64)]);
        Ok(())
    }

    fn linear_lower_to_memory<T>(
        &self,
        _: &mut LowerContext<'_, T>,
        _: InterfaceType,
        _: usize,
    ) -> Result<()> {
        bail!("it is lowered as a parameter")
    }
}
