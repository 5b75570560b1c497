//! Pages of the cache of keys and values: who has which, and prefixes that several sequences share.
//!
//! The cache is cut into pages of a fixed number of positions. A sequence has a list of pages, which need not lie
//! beside each other. A page whose positions are all computed may be published: it becomes a node of a tree of
//! prefixes, where a later sequence that begins with the same tokens finds it. A node's page is never written again,
//! so that any number of sequences may read it. Pages that nobody uses stay in the tree until their memory is needed;
//! the ones that were used longest ago go first, leaves before what they stand on.
//!
//! Nothing here knows what stands in a page. The same calls give the same pages.

use std::collections::{BTreeSet, HashMap};

/// The root of the tree.
const ROOT: u64 = 0;

/// Pages of one sequence.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// The pages in their order.
    pub(crate) pages: Vec<u32>,
    /// How many of them, from the front, are nodes of the tree.
    shared: usize,
    /// The node of the last shared page.
    node: u64,
}

/// A page in the tree.
#[derive(Debug)]
struct Node {
    page: u32,
    parent: u64,
    tokens: Box<[u32]>,
    /// Sequences that have the page.
    uses: usize,
    children: usize,
    /// When it was last given to a sequence, or left by one.
    touched: u64,
}

/// All pages.
#[derive(Debug)]
pub(crate) struct Pages {
    positions: usize,
    count: usize,
    free: Vec<u32>,
    nodes: HashMap<u64, Node>,
    /// From a node and the tokens of the next page to the next node.
    edges: HashMap<(u64, Box<[u32]>), u64>,
    /// Nodes that nobody uses and nothing stands on, by when they were touched.
    idle: BTreeSet<(u64, u64)>,
    next_node: u64,
    clock: u64,
}

impl Pages {
    /// So many pages of so many positions each, all free.
    pub(crate) fn new(count: usize, positions: usize) -> Self {
        assert!(positions > 0 && u32::try_from(count).is_ok(), "{count} pages of {positions} positions");
        Self {
            positions,
            count,
            free: (0..count as u32).rev().collect(),
            nodes: HashMap::new(),
            edges: HashMap::new(),
            idle: BTreeSet::new(),
            next_node: ROOT + 1,
            clock: 0,
        }
    }

    /// Positions of a page.
    pub(crate) fn positions(&self) -> usize {
        self.positions
    }

    /// All pages.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Pages that no sequence has.
    pub(crate) fn available(&self) -> usize {
        self.free.len() + self.nodes.values().filter(|node| node.uses == 0).count()
    }

    /// The pages of the longest known prefix of these tokens; at least the last token is left to compute.
    pub(crate) fn begin(&mut self, tokens: &[u32]) -> Held {
        let mut held = Held { pages: Vec::new(), shared: 0, node: ROOT };
        let whole = tokens.len().saturating_sub(1) / self.positions;
        for tokens in tokens.chunks_exact(self.positions).take(whole) {
            let Some(node) = self.edges.get(&(held.node, tokens.into())).copied() else { break };
            self.take(node);
            held.pages.push(self.nodes[&node].page);
            (held.node, held.shared) = (node, held.shared + 1);
        }
        held
    }

    /// Gives the sequence pages for so many positions in all; false, and nothing is changed, where there are not
    /// enough.
    pub(crate) fn grow(&mut self, held: &mut Held, positions: usize) -> bool {
        let wanted = positions.div_ceil(self.positions).saturating_sub(held.pages.len());
        while self.free.len() < wanted {
            if !self.forget() {
                return false;
            }
        }
        held.pages.extend(self.free.drain(self.free.len() - wanted..).rev());
        true
    }

    /// Publishes the pages of a sequence that are computed to the end; `tokens` are those that are computed. Where
    /// another sequence was first, its page takes the place of this one's.
    pub(crate) fn publish(&mut self, held: &mut Held, tokens: &[u32]) {
        for (index, tokens) in tokens.chunks_exact(self.positions).enumerate().skip(held.shared) {
            let Some(own) = held.pages.get(index).copied() else { break };
            let edge = (held.node, Box::from(tokens));
            let node = if let Some(node) = self.edges.get(&edge).copied() {
                self.take(node);
                held.pages[index] = self.nodes[&node].page;
                self.free.push(own);
                node
            } else {
                let node = self.next_node;
                self.next_node += 1;
                self.child(held.node, 1);
                let touched = self.tick();
                let new = Node { page: own, parent: held.node, tokens: tokens.into(), uses: 1, children: 0, touched };
                self.nodes.insert(node, new);
                self.edges.insert(edge, node);
                node
            };
            (held.node, held.shared) = (node, index + 1);
        }
    }

    /// Takes back the pages behind so many positions, which were written for nothing. What is published stays.
    pub(crate) fn shrink(&mut self, held: &mut Held, positions: usize) {
        let keep = positions.div_ceil(self.positions).max(held.shared);
        self.free.extend(held.pages.drain(keep.min(held.pages.len())..).rev());
    }

    /// The sequence is over; what it published is kept as long as there is room.
    pub(crate) fn end(&mut self, held: Held) {
        let Held { pages, shared, mut node } = held;
        self.free.extend(pages[shared..].iter().rev());
        while node != ROOT {
            let touched = self.tick();
            let Some(this) = self.nodes.get_mut(&node) else { break };
            this.uses -= 1;
            // A parent is touched after its children, and so is forgotten after them.
            this.touched = touched;
            let (parent, idle) = (this.parent, this.uses == 0 && this.children == 0);
            if idle {
                self.idle.insert((touched, node));
            }
            node = parent;
        }
    }

    fn take(&mut self, node: u64) {
        let touched = self.tick();
        if let Some(this) = self.nodes.get_mut(&node) {
            self.idle.remove(&(this.touched, node));
            this.uses += 1;
            this.touched = touched;
        }
    }

    /// A node more, or less, stands on this one.
    fn child(&mut self, node: u64, change: isize) {
        if let Some(this) = self.nodes.get_mut(&node) {
            self.idle.remove(&(this.touched, node));
            this.children = this.children.saturating_add_signed(change);
            if this.uses == 0 && this.children == 0 {
                self.idle.insert((this.touched, node));
            }
        }
    }

    /// Frees the page of the idle node that was touched longest ago; false where there is none.
    fn forget(&mut self) -> bool {
        let Some((_, node)) = self.idle.pop_first() else { return false };
        let Some(gone) = self.nodes.remove(&node) else { return false };
        self.edges.remove(&(gone.parent, gone.tokens));
        self.free.push(gone.page);
        self.child(gone.parent, -1);
        true
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_prefix_is_found_again_and_never_whole() {
        let mut pages = Pages::new(8, 2);
        let mut first = pages.begin(&[1, 2, 3, 4, 5]);
        assert!(first.pages.is_empty() && pages.grow(&mut first, 5));
        pages.publish(&mut first, &[1, 2, 3, 4, 5]);
        let second = pages.begin(&[1, 2, 3, 4]);
        // The last token is computed again, for its logits.
        assert_eq!(second.pages, first.pages[..1]);
        let third = pages.begin(&[1, 2, 3, 4, 9]);
        assert_eq!(third.pages, first.pages[..2]);
        let other = pages.begin(&[3, 4, 3, 4, 9]);
        assert!(other.pages.is_empty());
        for held in [first, second, third, other] {
            pages.end(held);
        }
        assert_eq!((pages.available(), pages.begin(&[1, 2, 9]).pages.len()), (8, 1));
    }

    #[test]
    fn the_same_prefix_computed_twice_is_kept_once() {
        let mut pages = Pages::new(4, 2);
        let [mut one, mut two] = [pages.begin(&[1, 2, 3]), pages.begin(&[1, 2, 3])];
        assert!(pages.grow(&mut one, 3) && pages.grow(&mut two, 3));
        assert!(!pages.grow(&mut one, 5));
        pages.publish(&mut one, &[1, 2, 3]);
        pages.publish(&mut two, &[1, 2, 3]);
        assert_eq!(one.pages[0], two.pages[0]);
        assert!(pages.grow(&mut one, 5));
    }

    proptest! {
        /// Whatever is done, a page belongs to one sequence, to the tree, or to nobody, and none is lost.
        #[test]
        fn no_page_is_lost_or_had_twice(
            calls in prop::collection::vec((0..5_u8, 0..6_usize, prop::collection::vec(0..2_u32, 1..12)), 1..60)
        ) {
            let mut pages = Pages::new(10, 2);
            let mut sequences: Vec<(Held, Vec<u32>)> = Vec::new();
            for (what, which, tokens) in calls {
                if what == 0 || sequences.is_empty() {
                    sequences.push((pages.begin(&tokens), tokens));
                    continue;
                }
                let which = which % sequences.len();
                let (held, tokens) = &mut sequences[which];
                let room = held.pages.len() * 2;
                match what {
                    1 => drop(pages.grow(held, tokens.len())),
                    2 => pages.publish(held, &tokens[..tokens.len().min(room)]),
                    3 => pages.shrink(held, tokens.len() / 2),
                    _ => pages.end(sequences.swap_remove(which).0),
                }
                let tree: HashSet<u32> = pages.nodes.values().map(|node| node.page).collect();
                let own = sequences.iter().flat_map(|(held, _)| &held.pages[held.shared..]);
                let all: Vec<u32> = tree.iter().chain(own).chain(&pages.free).copied().collect();
                let distinct: HashSet<u32> = all.iter().copied().collect();
                prop_assert_eq!((all.len(), distinct.len()), (10, 10));
                for (held, _) in &sequences {
                    prop_assert!(held.pages[..held.shared].iter().all(|page| tree.contains(page)));
                }
            }
            for (held, _) in sequences {
                pages.end(held);
            }
            prop_assert_eq!(pages.available(), 10);
            // All of it can be had by one sequence.
            let mut last = Held::default();
            prop_assert!(pages.grow(&mut last, 20));
        }
    }
}
