//! Small tables of `u32` handles: of the revision of contract 1 that has no resources, and of contract 2, whose resources they name.

use wasmtime::bail;

/// Most live handles of a kind in one instance. At it the call ends with a trap: the guest leaks.
pub(crate) const HANDLES_MAX: usize = 1_024;

/// A table whose handles start at 1 and are used again once removed.
#[derive(Debug)]
pub(crate) struct Table<T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Table<T> {
    /// Adds a value: its handle.
    pub(crate) fn insert(&mut self, value: T) -> wasmtime::Result<u32> {
        if let Some(handle) = self.free.pop() {
            self.slots[handle as usize - 1] = Some(value);
            return Ok(handle);
        }
        if self.slots.len() >= HANDLES_MAX {
            bail!(
                "the guest holds {HANDLES_MAX} handles and asks for one more; drop those it is done with"
            );
        }
        self.slots.push(Some(value));
        Ok(self.slots.len() as u32)
    }

    /// Removes all values, and keeps the room.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        self.free.clear();
    }

    /// Live handles.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The value of a handle.
    pub(crate) fn get(&self, handle: u32) -> Option<&T> {
        self.slots.get((handle as usize).checked_sub(1)?)?.as_ref()
    }

    /// The value of a handle, to be changed.
    pub(crate) fn get_mut(&mut self, handle: u32) -> Option<&mut T> {
        let slot = self.slots.get_mut((handle as usize).checked_sub(1)?)?;
        slot.as_mut()
    }

    /// Takes a value away; `None` if the handle is not live.
    pub(crate) fn remove(&mut self, handle: u32) -> Option<T> {
        let value = self
            .slots
            .get_mut((handle as usize).checked_sub(1)?)?
            .take()?;
        self.free.push(handle);
        Some(value)
    }
}

/// The clients and errors of one instance.
#[derive(Debug, Default)]
pub(crate) struct Handles {
    pub(crate) clients: Table<()>,
    pub(crate) errors: Table<String>,
}

impl Handles {
    /// Live handles of both kinds.
    pub(crate) fn len(&self) -> usize {
        self.clients.len() + self.errors.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_used_again_and_foreign_ones_are_none() {
        let mut table = Table::default();
        let (a, b) = (table.insert('a').unwrap(), table.insert('b').unwrap());
        assert_eq!((a, b), (1, 2));
        assert_eq!(table.remove(a), Some('a'));
        assert_eq!(table.remove(a), None);
        assert_eq!(table.get(a), None);
        assert_eq!(table.insert('c').unwrap(), a);
        for foreign in [0, 3, u32::MAX] {
            assert_eq!(table.get(foreign), None);
            assert_eq!(table.remove(foreign), None);
        }
        table.remove(b);
        table.clear();
        assert_eq!((table.len(), table.get(a)), (0, None));
        assert_eq!(table.insert('d').unwrap(), 1);
    }

    #[test]
    fn table_is_full_at_its_limit() {
        let mut table = Table::default();
        for _ in 0..HANDLES_MAX {
            table.insert(()).unwrap();
        }
        assert!(table.insert(()).is_err());
        table.remove(7);
        assert_eq!(table.insert(()).unwrap(), 7);
    }
}
