//! A list that needs no allocation for one value, because most connects have one address.

use std::ops::{Deref, DerefMut};

/// Values, in order.
#[derive(Debug)]
pub(crate) enum Few<T> {
    /// One, or none.
    One(Option<T>),
    Many(Vec<T>),
}

impl<T> Few<T> {
    pub(crate) const fn new() -> Self {
        Self::One(None)
    }

    /// Empty, with room for so many values. `None` if there is no memory for them.
    pub(crate) fn with_room_for(values: usize) -> Option<Self> {
        if values <= 1 {
            return Some(Self::new());
        }
        let mut many = Vec::new();
        many.try_reserve_exact(values).ok()?;
        Some(Self::Many(many))
    }

    /// Adds a value for which there is room. One for which there is none is dropped.
    pub(crate) fn push(&mut self, value: T) {
        match self {
            Self::One(one) if one.is_none() => *one = Some(value),
            Self::Many(many) if many.len() < many.capacity() => many.push(value),
            Self::One(_) | Self::Many(_) => {}
        }
    }
}

impl<T> From<T> for Few<T> {
    fn from(value: T) -> Self {
        Self::One(Some(value))
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::One(one) => one.as_slice(),
            Self::Many(many) => many,
        }
    }
}

impl<T> DerefMut for Few<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::One(one) => one.as_mut_slice(),
            Self::Many(many) => many,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_as_many_as_it_has_room_for_in_order() {
        for room in 0..4 {
            let mut few = Few::with_room_for(room).expect("there is memory");
            assert!(few.is_empty());
            (0..room).for_each(|number| few.push(number));
            assert_eq!(*few, (0..room).collect::<Vec<_>>());
            few.iter_mut().for_each(|number| *number += 1);
            assert_eq!(*few, (1..=room).collect::<Vec<_>>());
        }
        assert_eq!(*Few::from(5), [5]);
    }
}
