//! Slots of memory for small entries, in pages of one size class each.
//!
//! A slot is named by a [`Handle`] of 32 bits, and may be moved: [`Arena::sparse_page`] names a page that is worth emptying, so that what lives
//! in few slots of many pages comes together and the other pages go back to the system. Whoever holds handles does the moving. A page is
//! worth it when as many slots of its class are free as a page has, twice over; emptying it moves at most one slot for each that was
//! freed before.

#[cfg(any(test, fuzzing, feature = "simulation"))]
mod audit;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;
use std::sync::Arc;

use super::pages::{PAGE_LEN, Page, PagePool};

/// The length of the largest slot in bytes: what is larger gets memory of its own.
pub(super) const SLOT_LEN_MAX: usize = 8 * 1024;

/// Lengths and places of slots are multiples of this many bytes.
const UNIT: usize = 8;

/// Slots up to this length are told apart by one unit, longer ones by a sixteenth of their length: few entries waste
/// more than that.
const FINE_LEN_MAX: usize = 256;

/// Bits of a handle for the place in its page, in units.
const PLACE_BITS: u32 = (PAGE_LEN / UNIT).ilog2();

/// How many pages an arena can have: 32 GiB.
const PAGES_MAX: usize = 1 << (32 - PLACE_BITS);

/// How many pages with free slots are compared before one is emptied.
const COMPARED_MAX: usize = 16;

/// The lengths of all classes in ascending order.
const CLASS_LENS: [u16; CLASSES] = class_lens();
const CLASSES: usize = count_classes();

/// The class of each length, in units rounded up.
static CLASS_OF: [u8; SLOT_LEN_MAX / UNIT + 1] = class_of_units();

/// The least length of a class: shorter entries do not occur.
const SLOT_LEN_MIN: usize = 40;

const fn next_len(len: usize) -> usize {
    if len < FINE_LEN_MAX {
        return len + UNIT;
    }
    // The longest slot of which so many fit a page, then one fewer fits.
    let mut per_page = PAGE_LEN / (len + len / 16);
    if per_page >= PAGE_LEN / len {
        per_page = PAGE_LEN / len - 1;
    }
    let next = PAGE_LEN / per_page / UNIT * UNIT;
    if next > SLOT_LEN_MAX { SLOT_LEN_MAX } else { next }
}

const fn count_classes() -> usize {
    let (mut len, mut count) = (SLOT_LEN_MIN, 1);
    while len < SLOT_LEN_MAX {
        len = next_len(len);
        count += 1;
    }
    count
}

const fn class_lens() -> [u16; CLASSES] {
    let mut lens = [SLOT_LEN_MIN as u16; CLASSES];
    let mut class = 1;
    while class < CLASSES {
        lens[class] = next_len(lens[class - 1] as usize) as u16;
        class += 1;
    }
    lens
}

const fn class_of_units() -> [u8; SLOT_LEN_MAX / UNIT + 1] {
    let mut classes = [0; SLOT_LEN_MAX / UNIT + 1];
    let (mut units, mut class) = (0, 0);
    while units < classes.len() {
        if units * UNIT > CLASS_LENS[class] as usize {
            class += 1;
        }
        classes[units] = class as u8;
        units += 1;
    }
    classes
}

/// The length of the slot for so many bytes; at most [`SLOT_LEN_MAX`] are asked for.
pub(super) fn slot_len(bytes: usize) -> usize {
    CLASS_LENS[class_of(bytes)].into()
}

fn class_of(bytes: usize) -> usize {
    CLASS_OF[bytes.div_ceil(UNIT)].into()
}

/// The name of a slot: its page, and its place there in units. Pages are counted from 1, so that an `Option` takes no more room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Handle(NonZeroU32);

impl Handle {
    fn new(page: usize, offset: usize) -> Self {
        let number = (page as u32) << PLACE_BITS | (offset / UNIT) as u32;
        Self(NonZeroU32::new(number).expect("pages are counted from 1"))
    }

    pub(super) fn from_u32(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    pub(super) fn to_u32(self) -> u32 {
        self.0.get()
    }

    fn page(self) -> usize {
        (self.0.get() >> PLACE_BITS) as usize
    }

    fn offset(self) -> usize {
        (self.0.get() & ((1 << PLACE_BITS) - 1)) as usize * UNIT
    }
}

/// See the module's documentation.
pub(super) struct Arena {
    pool: Arc<PagePool>,
    /// The first is never used: see [`Handle`].
    pages: Vec<Option<ClassPage>>,
    /// Numbers of pages that went back.
    unused: Vec<u32>,
    classes: Vec<Class>,
}

/// The pages of one size.
#[derive(Default)]
struct Class {
    /// Pages with free slots.
    partial: Vec<u32>,
    /// Free slots in all of its pages.
    free: usize,
    /// Where the next look for a sparse page begins.
    looked_at: usize,
}

struct ClassPage {
    bytes: Page,
    class: usize,
    live: u16,
    /// Which slots are live: a bit each. Those behind the last slot are set.
    used: Box<[u64]>,
    /// Its place in the list of pages with free slots.
    partial_at: Option<u32>,
}

impl ClassPage {
    fn slot_len(&self) -> usize {
        CLASS_LENS[self.class].into()
    }

    fn slots(&self) -> usize {
        PAGE_LEN / self.slot_len()
    }

    fn take_slot(&mut self) -> usize {
        // The first one: what was never used stays without memory as long as it can.
        let word = self.used.iter().position(|word| *word != u64::MAX);
        let word = word.expect("a page in the list has a free slot");
        let slot = word * 64 + self.used[word].trailing_ones() as usize;
        self.used[slot / 64] |= 1 << (slot % 64);
        self.live += 1;
        slot
    }
}

impl Arena {
    pub(super) fn new(pool: Arc<PagePool>) -> Self {
        Self {
            pool,
            pages: vec![None],
            unused: Vec::new(),
            classes: std::iter::repeat_with(Class::default).take(CLASSES).collect(),
        }
    }

    /// A slot for so many bytes, at most [`SLOT_LEN_MAX`]; what is in it is not said. `None` where the system has no memory.
    pub(super) fn take(&mut self, bytes: usize) -> Option<Handle> {
        let class = class_of(bytes);
        let number = match self.classes[class].partial.last() {
            Some(&number) => number,
            None => self.add_page(class)?,
        };
        let page = self.pages[number as usize]
            .as_mut()
            .expect("a page in a list is there");
        let slot = page.take_slot();
        let offset = slot * page.slot_len();
        let is_full = usize::from(page.live) == page.slots();
        self.classes[class].free -= 1;
        if is_full {
            self.leave_list(number);
        }
        Some(Handle::new(number as usize, offset))
    }

    /// Gives a slot back.
    pub(super) fn give_back(&mut self, handle: Handle) {
        let number = handle.page();
        let page = self.pages[number]
            .as_mut()
            .expect("a handle names a page that is there");
        let slot = handle.offset() / page.slot_len();
        page.used[slot / 64] &= !(1 << (slot % 64));
        page.live -= 1;
        let (live, class, listed) = (page.live, page.class, page.partial_at.is_some());
        self.classes[class].free += 1;
        if !listed {
            let list = &mut self.classes[class].partial;
            page.partial_at = Some(list.len() as u32);
            list.push(number as u32);
        }
        // The last page of a class stays: its next entry is likely to come.
        if live == 0 && self.classes[class].partial.len() > 1 {
            self.drop_page(number as u32);
        }
    }

    /// The bytes of a slot.
    pub(super) fn slot(&self, handle: Handle) -> &[u8] {
        let page = self.pages[handle.page()].as_ref();
        let page = page.expect("a handle names a page that is there");
        &page.bytes[handle.offset()..][..page.slot_len()]
    }

    /// The bytes of a slot, to be changed.
    pub(super) fn slot_mut(&mut self, handle: Handle) -> &mut [u8] {
        let page = self.pages[handle.page()].as_mut();
        let page = page.expect("a handle names a page that is there");
        let len = page.slot_len();
        &mut page.bytes[handle.offset()..][..len]
    }

    /// Copies a slot into another one of the same class.
    pub(super) fn copy(&mut self, from: Handle, to: Handle) {
        let len = self.slot(from).len();
        if from.page() == to.page() {
            let page = self.pages[from.page()]
                .as_mut()
                .expect("a handle names a page that is there");
            page.bytes
                .copy_within(from.offset()..from.offset() + len, to.offset());
            return;
        }
        let pages = self.pages.get_disjoint_mut([from.page(), to.page()]);
        let [Some(source), Some(target)] = pages.expect("they are two pages") else {
            unreachable!("handles name pages that are there");
        };
        target.bytes[to.offset()..][..len].copy_from_slice(&source.bytes[from.offset()..][..len]);
    }

    /// A page of the class of this length that is worth emptying, for [`begin_emptying`](Self::begin_emptying).
    pub(super) fn sparse_page(&mut self, bytes: usize) -> Option<u32> {
        let class = &mut self.classes[class_of(bytes)];
        if class.free < 2 * (PAGE_LEN / usize::from(CLASS_LENS[class_of(bytes)])) {
            return None;
        }
        let count = class.partial.len();
        let compared =
            (0..count.min(COMPARED_MAX)).map(|step| class.partial[(class.looked_at + step) % count]);
        let live = |number: &u32| self.pages[*number as usize].as_ref().map_or(0, |page| page.live);
        let sparsest = compared.min_by_key(live);
        class.looked_at = (class.looked_at + COMPARED_MAX) % count.max(1);
        sparsest
    }

    /// The slots that live in a page, which from now on gives no new ones. When all have moved it is gone.
    pub(super) fn begin_emptying(&mut self, number: u32) -> Vec<Handle> {
        self.leave_list(number);
        let page = self.pages[number as usize]
            .as_mut()
            .expect("it was named just now");
        let class = &mut self.classes[page.class];
        // Nobody may take its free slots.
        class.free -= page.slots() - usize::from(page.live);
        let len = page.slot_len();
        let live = (0..page.slots()).filter(|slot| page.used[slot / 64] & (1 << (slot % 64)) != 0);
        live.map(|slot| Handle::new(number as usize, slot * len))
            .collect()
    }

    /// Gives back a page that [`begin_emptying`](Self::begin_emptying) named and whose slots have all moved.
    pub(super) fn finish_emptying(&mut self, number: u32) {
        self.pages[number as usize] = None;
        self.unused.push(number);
    }

    fn add_page(&mut self, class: usize) -> Option<u32> {
        if self.unused.is_empty() {
            if self.pages.len() == PAGES_MAX {
                return None;
            }
            self.unused.push(self.pages.len() as u32);
            self.pages.push(None);
        }
        let bytes = self.pool.take()?;
        let number = self.unused.pop().expect("there is one, or one was added");
        let slots = PAGE_LEN / usize::from(CLASS_LENS[class]);
        let mut used = vec![0_u64; slots.div_ceil(64)].into_boxed_slice();
        if !slots.is_multiple_of(64) {
            used[slots / 64] = u64::MAX << (slots % 64);
        }
        self.pages[number as usize] = Some(ClassPage {
            bytes,
            class,
            live: 0,
            used,
            partial_at: Some(self.classes[class].partial.len() as u32),
        });
        let class = &mut self.classes[class];
        class.partial.push(number);
        class.free += slots;
        Some(number)
    }

    fn drop_page(&mut self, number: u32) {
        self.leave_list(number);
        let page = self.pages[number as usize]
            .take()
            .expect("its last slot was given back just now");
        self.classes[page.class].free -= page.slots();
        self.unused.push(number);
    }

    /// Takes a page out of the list of those with free slots.
    fn leave_list(&mut self, number: u32) {
        let page = self.pages[number as usize]
            .as_mut()
            .expect("a page in a list is there");
        let Some(at) = page.partial_at.take() else { return };
        let list = &mut self.classes[page.class].partial;
        list.swap_remove(at as usize);
        if let Some(&moved) = list.get(at as usize) {
            let moved = self.pages[moved as usize]
                .as_mut()
                .expect("a page in a list is there");
            moved.partial_at = Some(at);
        }
    }
}
