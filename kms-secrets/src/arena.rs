//! One page of memory that others find hard to read: for the key under which secrets are shielded.

use std::ffi::c_void;
use std::fmt;
use std::io;
use std::ptr::{self, NonNull};

use zeroize::Zeroize;

/// How the page that holds the shielding key is protected, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protection {
    /// `memfd_secret(2)`: memory that the kernel itself doesn't map. No other process can read it,
    /// not even as root through `/proc`; it is never swapped or dumped.
    MemfdSecret,
    /// Pages that are locked into memory, so never swapped, and kept out of dumps and forks.
    Locked,
    /// Pages that are kept out of dumps and forks and may be swapped: the limit on locked memory
    /// (`ulimit -l`) left no room for a page.
    Unlocked,
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MemfdSecret => "memfd_secret",
            Self::Locked => "locked pages",
            Self::Unlocked => "unlocked pages",
        })
    }
}

/// A page of zeros with a page on each side that nobody may touch, protected as well as the kernel
/// and the limits allow. Wiped when dropped.
///
/// A child that is forked has no such page: touching it there ends the child.
pub(crate) struct Arena {
    /// The first guard page. The page that is used comes behind it, then the second guard.
    base: NonNull<u8>,
    page: usize,
    protection: Protection,
}

// SAFETY: an arena owns its mapping, which is bound to no thread. Through `&Arena` it hands out
// nothing but the address; what is done with that answers for itself.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// Maps the pages, protected in the best way that works.
    ///
    /// # Errors
    /// The system's, if there is no memory for three pages at all.
    pub(crate) fn new() -> io::Result<Self> {
        Self::with(&[Protection::MemfdSecret, Protection::Locked])
    }

    /// As [`Arena::new`], trying only `ways` before pages that are not locked.
    fn with(ways: &[Protection]) -> io::Result<Self> {
        if ways.contains(&Protection::MemfdSecret) {
            let arena = Self::reserve()?;
            if arena.map_secret().is_ok() {
                return Ok(arena.protected(Protection::MemfdSecret));
            }
            // A mapping that failed may have left a hole between the guards, where others' memory may lie by
            // now. So nothing is touched there any more: what is lost is three pages of addresses.
            std::mem::forget(arena);
        }
        let arena = Self::reserve()?;
        arena.map_anonymous()?;
        let locked = ways.contains(&Protection::Locked) && arena.lock();
        Ok(arena.protected(if locked { Protection::Locked } else { Protection::Unlocked }))
    }

    fn protected(mut self, protection: Protection) -> Self {
        self.protection = protection;
        self.keep_to_this_process();
        self
    }

    /// Three pages of addresses that nobody may touch yet.
    fn reserve() -> io::Result<Self> {
        let page = page_size()?;
        // SAFETY: a new private mapping at an address of the kernel's choice touches no memory that
        // anybody has.
        let base = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            libc::mmap(ptr::null_mut(), 3 * page, libc::PROT_NONE, flags, -1, 0)
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, page, protection: Protection::Unlocked })
    }

    pub(crate) fn protection(&self) -> Protection {
        self.protection
    }

    /// The start of the page: aligned to pages, readable, writable until [`Arena::seal`].
    pub(crate) fn start(&self) -> NonNull<u8> {
        // SAFETY: the mapping has three pages, so the second one's start is inside it.
        unsafe { self.base.add(self.page) }
    }

    /// How many bytes the page has.
    pub(crate) fn len(&self) -> usize {
        self.page
    }

    /// Makes the page read-only, so that a stray write ends the process instead of changing the key.
    /// That it may fail is no loss: the page stays as it was.
    pub(crate) fn seal(&self) {
        // SAFETY: the page is mapped and ours; nothing refers to it as writable memory.
        let _ = unsafe { libc::mprotect(self.start().as_ptr().cast(), self.page, libc::PROT_READ) };
    }

    /// Puts a page of `memfd_secret` between the guards.
    fn map_secret(&self) -> io::Result<()> {
        // SAFETY: the call takes flags alone and gives a new file descriptor or -1. A kernel without
        // it says ENOSYS.
        let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
        let Ok(fd @ 0..) = libc::c_int::try_from(fd) else {
            return Err(io::Error::last_os_error());
        };
        let mapped = match libc::off_t::try_from(self.page) {
            // SAFETY: `fd` is the descriptor that was just made.
            Ok(len) if unsafe { libc::ftruncate(fd, len) } == 0 => self.map(libc::MAP_SHARED, fd),
            _ => Err(io::Error::last_os_error()),
        };
        // SAFETY: `fd` was made here and handed to nobody. The mapping outlives it.
        unsafe { libc::close(fd) };
        mapped
    }

    fn map_anonymous(&self) -> io::Result<()> {
        self.map(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)
    }

    fn map(&self, flags: libc::c_int, fd: libc::c_int) -> io::Result<()> {
        let at: *mut c_void = self.start().as_ptr().cast();
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: MAP_FIXED replaces the second of our own three pages, which nobody refers to yet.
        let mapped = unsafe { libc::mmap(at, self.page, access, flags | libc::MAP_FIXED, fd, 0) };
        if mapped == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn lock(&self) -> bool {
        // SAFETY: the page is mapped and ours; locking doesn't change what is in it.
        unsafe { libc::mlock(self.start().as_ptr().cast(), self.page) == 0 }
    }

    /// Kernels before these pieces of advice leave the page as it is.
    fn keep_to_this_process(&self) {
        for advice in [libc::MADV_DONTDUMP, libc::MADV_DONTFORK] {
            // SAFETY: the page is mapped and ours; neither advice changes it in this process.
            unsafe { libc::madvise(self.start().as_ptr().cast(), self.page, advice) };
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        let start = self.start().as_ptr();
        // SAFETY: the mapping is ours and nobody else refers to it, since the arena is going. The
        // page is written to only if it could be made writable, and the whole is unmapped once.
        unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            if libc::mprotect(start.cast(), self.page, access) == 0 {
                std::slice::from_raw_parts_mut(start, self.page).zeroize();
            }
            libc::munmap(self.base.as_ptr().cast(), 3 * self.page);
        }
    }
}

fn page_size() -> io::Result<usize> {
    // SAFETY: asks for a number.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAYS: [&[Protection]; 3] =
        [&[Protection::MemfdSecret, Protection::Locked], &[Protection::Locked], &[]];

    /// As in some containers. (As root there is no limit, and locking works.)
    fn nothing_may_be_locked() -> bool {
        rustix::process::getrlimit(rustix::process::Resource::Memlock).current == Some(0)
    }

    fn kernel_has_memfd_secret() -> bool {
        // SAFETY: takes no pointers.
        let file = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
        if file >= 0 {
            // SAFETY: the descriptor was just made, and nobody else has it.
            assert_eq!(unsafe { libc::close(i32::try_from(file).unwrap()) }, 0);
        }
        file >= 0
    }

    /// The access to each of the arena's three pages as the kernel tells it, and the page's flags.
    fn as_mapped(arena: &Arena) -> ([String; 3], String) {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let base = arena.base.as_ptr() as usize;
        let mut access = [const { String::new() }; 3];
        let mut flags = String::new();
        let mut here = 0..0;
        for line in smaps.lines() {
            let mut words = line.split_ascii_whitespace();
            let first = words.next().unwrap();
            if let Some((from, to)) = first.split_once('-') {
                let number = |text| usize::from_str_radix(text, 16).unwrap();
                here = number(from)..number(to);
                let mode = words.next().unwrap();
                for (index, access) in access.iter_mut().enumerate() {
                    if here.contains(&(base + index * arena.page)) {
                        *access = mode[..3].to_owned();
                    }
                }
            } else if first == "VmFlags:" && here.contains(&(base + arena.page)) {
                flags = line.to_owned();
            }
        }
        (access, flags)
    }

    #[test]
    fn each_way_gives_a_page_of_zeros_that_can_be_written_and_sealed() {
        for ways in WAYS {
            let arena = Arena::with(ways).unwrap();
            let locked = arena.protection() != Protection::Unlocked;
            assert!(locked || ways.is_empty() || nothing_may_be_locked(), "{ways:?}");
            assert!(!locked || ways.contains(&arena.protection()));
            // SAFETY: the page is readable and writable, and this test alone has it.
            let page =
                unsafe { std::slice::from_raw_parts_mut(arena.start().as_ptr(), arena.len()) };
            assert!(page.iter().all(|byte| *byte == 0));
            page.fill(0xab);
            arena.seal();
            assert!(page.iter().all(|byte| *byte == 0xab));
        }
    }

    #[test]
    fn guards_stand_on_both_sides_and_the_page_stays_out_of_dumps_and_forks() {
        for ways in WAYS {
            let arena = Arena::with(ways).unwrap();
            let (access, flags) = as_mapped(&arena);
            assert_eq!(access, ["---", "rw-", "---"], "{}", arena.protection());
            let has = |flag| flags.split_ascii_whitespace().any(|word| word == flag);
            assert!(has("dd") && has("dc"), "{}: {flags}", arena.protection());
            assert_eq!(has("lo"), arena.protection() != Protection::Unlocked, "{flags}");
            arena.seal();
            assert_eq!(as_mapped(&arena).0[1], "r--");
        }
    }

    /// Where the kernel has none, locked pages stand in – which `/proc` does show.
    #[test]
    fn memfd_secret_is_in_force_where_there_is_one_and_closed_to_proc() {
        let arena = Arena::new().unwrap();
        let secret = arena.protection() == Protection::MemfdSecret;
        if !nothing_may_be_locked() {
            assert_eq!(secret, kernel_has_memfd_secret());
            assert_ne!(arena.protection(), Protection::Unlocked);
        }
        let file = std::fs::File::open("/proc/self/mem").unwrap();
        let mut byte = [0];
        let at = arena.start().as_ptr() as u64;
        let read = std::os::unix::fs::FileExt::read_at(&file, &mut byte, at);
        assert_eq!(read.is_err(), secret, "{}: {read:?}", arena.protection());
    }

    #[test]
    fn names_are_those_that_operators_read() {
        assert_eq!(Protection::MemfdSecret.to_string(), "memfd_secret");
        assert_eq!(Protection::Locked.to_string(), "locked pages");
        assert_eq!(Protection::Unlocked.to_string(), "unlocked pages");
    }
}
