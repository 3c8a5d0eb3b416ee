//! Values at small numbers that don't move, and that can't be mistaken for
//! those that were there before.

/// Where a value is. Never another one's, until 2^32 were at the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// Of nothing.
    pub const NONE: Self = Self {
        index: u32::MAX,
        generation: 0,
    };
}

/// The values.
#[derive(Debug)]
pub struct Slab<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Puts one in.
    pub fn insert(&mut self, value: T) -> Key {
        let free = self.free.pop();
        let free = free.and_then(|index| Some((index, self.places.get_mut(index as usize)?)));
        if let Some((index, (generation, place))) = free {
            *place = Some(value);
            return Key {
                index,
                generation: *generation,
            };
        }
        self.places.push((0, Some(value)));
        Key {
            index: self.places.len() as u32 - 1,
            generation: 0,
        }
    }

    /// The one at `key`, if it is still there.
    pub fn get(&self, key: Key) -> Option<&T> {
        let (generation, value) = self.places.get(key.index as usize)?;
        value.as_ref().filter(|_| *generation == key.generation)
    }

    /// The one at `key`, if it is still there.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (generation, value) = self.places.get_mut(key.index as usize)?;
        value.as_mut().filter(|_| *generation == key.generation)
    }

    /// Takes out the one at `key`.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let (generation, value) = self.places.get_mut(key.index as usize)?;
        if *generation != key.generation {
            return None;
        }
        let value = value.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(key.index);
        Some(value)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().filter_map(|(_, value)| value.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a key finds its value and never the one that came after it.
    #[test]
    fn keys_are_their_own() {
        let mut slab = Slab::default();
        let (a, b) = (slab.insert("a"), slab.insert("b"));
        assert_eq!(slab.remove(a), Some("a"));
        let c = slab.insert("c");
        assert_eq!(slab.get(a), None);
        assert_eq!(slab.remove(a), None);
        assert_eq!((slab.get(b), slab.get(c)), (Some(&"b"), Some(&"c")));
        assert_eq!(slab.get(Key::NONE), None);
        assert_eq!((slab.len(), slab.iter().count()), (2, 2));
    }
}
