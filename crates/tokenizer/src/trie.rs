//! All tokens that a text begins with, found byte by byte. Nodes are laid out breadth first, so that the children of a
//! node stand beside each other and the tree is three flat lists.

/// A trie over byte strings with a number at the end of each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trie {
    /// Where the children of a node begin; those of the next node begin where they end.
    first: Vec<u32>,
    /// The byte that leads to a node.
    labels: Vec<u8>,
    /// The number at a node, or [`Trie::NONE`].
    values: Vec<u32>,
    /// The children of the root, by byte.
    roots: Vec<u32>,
}

impl Trie {
    /// No number, no node.
    pub const NONE: u32 = u32::MAX;

    /// Builds the trie; of equal strings the last counts. Empty strings are left out.
    pub fn new<'k>(keys: impl IntoIterator<Item = (&'k [u8], u32)>) -> Self {
        let mut keys: Vec<(&[u8], u32)> = keys.into_iter().filter(|(key, _)| !key.is_empty()).collect();
        // Stable, so that the last of equal strings stays last.
        keys.sort_by_key(|(key, _)| *key);
        let mut trie =
            Self { first: Vec::new(), labels: vec![0], values: vec![Self::NONE], roots: vec![Self::NONE; 256] };
        // The keys below each node of the level, in the order of nodes.
        let all = 0..keys.len();
        let mut level = vec![all];
        let mut depth = 0;
        while !level.is_empty() {
            let mut next = Vec::new();
            for range in level {
                trie.first.push(trie.labels.len() as u32);
                let mut begin = range.start;
                while begin < range.end && keys[begin].0.len() <= depth {
                    begin += 1;
                }
                while begin < range.end {
                    let label = keys[begin].0[depth];
                    let mut end = begin;
                    let mut value = Self::NONE;
                    while end < range.end && keys[end].0[depth] == label {
                        if keys[end].0.len() == depth + 1 {
                            value = keys[end].1;
                        }
                        end += 1;
                    }
                    if depth == 0 {
                        trie.roots[label as usize] = trie.labels.len() as u32;
                    }
                    trie.labels.push(label);
                    trie.values.push(value);
                    next.push(begin..end);
                    begin = end;
                }
            }
            level = next;
            depth += 1;
        }
        trie.first.push(trie.labels.len() as u32);
        trie
    }

    /// The child of a node by a byte, or [`Trie::NONE`].
    #[inline]
    fn child(&self, node: u32, byte: u8) -> u32 {
        if node == 0 {
            return self.roots[byte as usize];
        }
        let (begin, end) = (self.first[node as usize] as usize, self.first[node as usize + 1] as usize);
        let labels = &self.labels[begin..end];
        let found = if labels.len() <= 16 {
            labels.iter().position(|label| *label == byte)
        } else {
            labels.binary_search(&byte).ok()
        };
        found.map_or(Self::NONE, |offset| (begin + offset) as u32)
    }

    /// Every key that the bytes begin with, the shortest first: its length and its number.
    #[inline]
    pub fn prefixes(&self, bytes: &[u8], mut found: impl FnMut(usize, u32)) {
        let mut node = 0;
        for (index, byte) in bytes.iter().enumerate() {
            node = self.child(node, *byte);
            if node == Self::NONE {
                return;
            }
            let value = self.values[node as usize];
            if value != Self::NONE {
                found(index + 1, value);
            }
        }
    }

    /// The longest key that the bytes begin with.
    #[inline]
    pub fn longest(&self, bytes: &[u8]) -> Option<(usize, u32)> {
        let mut longest = None;
        self.prefixes(bytes, |length, value| longest = Some((length, value)));
        longest
    }

    /// The number of a whole key.
    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<u32> {
        let mut node = 0;
        for byte in key {
            node = self.child(node, *byte);
            if node == Self::NONE {
                return None;
            }
        }
        Some(self.values[node as usize]).filter(|value| *value != Self::NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_finds_what_a_search_of_all_keys_finds(
            keys in proptest::collection::vec("[ab\u{e9}]{0,4}", 0..20), text in "[ab\u{e9}]{0,8}",
        ) {
            let trie = Trie::new(keys.iter().enumerate().map(|(i, key)| (key.as_bytes(), i as u32)));
            let mut found = Vec::new();
            trie.prefixes(text.as_bytes(), |length, value| found.push((length, value)));
            let mut wanted = std::collections::BTreeMap::new();
            for (i, key) in keys.iter().enumerate() {
                if !key.is_empty() && text.starts_with(key.as_str()) {
                    wanted.insert(key.len(), i as u32);
                }
                let last = keys.iter().rposition(|other| other == key).filter(|_| !key.is_empty());
                prop_assert_eq!(trie.get(key.as_bytes()), last.map(|i| i as u32));
            }
            prop_assert_eq!(found, wanted.into_iter().collect::<Vec<_>>());
        }
    }
}
