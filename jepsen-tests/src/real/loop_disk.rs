//! A file system of its own for nodes, in a file behind a loop device: the power can be cut.
//!
//! ```text
//! a node's write     page cache of the ext4        lost with the power
//! fsync, writeback   the loop device's file        what a power cut leaves
//! ```
//!
//! Whoever reads the file behind the device sees what ext4 has given to its device, and nothing of
//! what waits above it. So a copy of that file, made while all writers stand still, is the disk of a
//! machine whose power went at that moment: fsynced bytes are there, a journal waits to be replayed,
//! the rest is gone. Nothing is asked to sync (`fsfreeze` would). A copy counts only if the device
//! wrote nothing while it was made, or it would be a disk that no moment had. What it cannot show:
//! a device that loses or reorders what it has taken and nobody flushed, and torn sectors.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::programs::run;

/// A copy during which the device wrote is made again, so often.
const COPIES_MAX: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);
/// A file system is in use until the last process in it is gone.
const UNMOUNT_WITHIN: Duration = Duration::from_secs(10);
/// The journal is committed by fsync alone, and old pages are written back as everywhere; tables
/// of inodes are not filled in the background, which would keep the device busy.
const OPTIONS: &str = "loop,noatime,noinit_itable,commit=300";

/// A mounted file system. Dropping it unmounts it and deletes its files.
#[derive(Debug)]
pub struct LoopDisk {
    folder: PathBuf,
    mount: PathBuf,
    image: PathBuf,
    /// Images made so far; each has its own name.
    images: u64,
    mounted: bool,
}

/// A disk as it was at one moment.
#[derive(Debug)]
pub struct Image {
    file: PathBuf,
    /// How often it was copied until the device wrote nothing meanwhile.
    pub copies: u32,
}

/// What stands in a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey(pub BTreeMap<PathBuf, Seen>);

/// What was seen of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    len: u64,
    /// Last change of it, in nanoseconds.
    changed: i128,
    /// Of its bytes, where they were read; equal bytes have equal hashes within one process.
    hash: Option<u64>,
}

/// What one survey has and a later one has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Files that are gone.
    pub files: u64,
    /// Files that are shorter.
    pub shorter: u64,
    /// Files as long as before, or longer, with other bytes or last changed at another time.
    pub changed: u64,
    /// Files that had been removed and are back.
    pub back: u64,
    /// Bytes of files that are gone or shorter.
    pub bytes: u64,
}

impl LoopDisk {
    /// Makes and mounts an ext4 of so many bytes; its files lie in `folder`.
    ///
    /// # Errors
    /// What the system's programs say.
    pub fn make(folder: &Path, bytes: u64) -> anyhow::Result<Self> {
        let mut disk = Self {
            folder: folder.to_owned(),
            mount: folder.join("disk"),
            image: folder.join("0.img"),
            images: 0,
            mounted: false,
        };
        fs::create_dir(&disk.mount)?;
        File::create_new(&disk.image)?.set_len(bytes)?;
        let image = [disk.image.as_path()];
        // Nothing is set aside for root, which the nodes run as: what they see free is all there is.
        let options = ["-q", "-m", "0", "-E", "lazy_itable_init=1"];
        run("mkfs.ext4", &options, &image)?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// The disk as it is now, without what was not synced. All writers must stand still.
    ///
    /// # Errors
    /// When the device goes on writing.
    pub fn copy(&mut self) -> anyhow::Result<Image> {
        let device = self.device()?;
        self.images += 1;
        let file = self.folder.join(format!("{}.img", self.images));
        for copies in 1..=COPIES_MAX {
            let before = activity(&device)?;
            run("cp", &["--sparse=always"], &[&self.image, &file])?;
            if before.in_flight == 0 && activity(&device)? == before {
                return Ok(Image { file, copies });
            }
            std::thread::sleep(PAUSE);
        }
        bail!("the device wrote during each of {COPIES_MAX} copies")
    }

    /// Goes on with another disk in place of this one. No process may use it.
    ///
    /// # Errors
    /// What the system's programs say.
    pub fn switch(&mut self, to: Image) -> anyhow::Result<()> {
        self.unmount()?;
        fs::remove_file(&self.image)?;
        self.image = to.file;
        self.mount()
    }

    /// Keeps the disk as it is, all of it synced. No process may use it.
    ///
    /// # Errors
    /// What the system's programs say.
    pub fn keep(&mut self) -> anyhow::Result<Image> {
        self.unmount()?;
        self.mount()?;
        self.copy()
    }

    /// Another copy of a disk that was kept.
    ///
    /// # Errors
    /// What the system's programs say.
    pub fn again(&mut self, kept: &Image) -> anyhow::Result<Image> {
        self.images += 1;
        let file = self.folder.join(format!("{}.img", self.images));
        run("cp", &["--sparse=always"], &[&kept.file, &file])?;
        Ok(Image { file, copies: 1 })
    }

    /// Faults that ext4 has met since it was mounted: a copy that is no disk would show here.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn faults(&self) -> anyhow::Result<u64> {
        let name = format!("/sys/fs/ext4/{}/errors_count", self.device()?);
        let text = fs::read_to_string(&name).with_context(|| format!("cannot read `{name}`"))?;
        Ok(text.trim().parse()?)
    }

    /// The loop device's name, such as `loop0`.
    fn device(&self) -> anyhow::Result<String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let mount = self.mount.to_string_lossy();
        let line = mounts
            .lines()
            .find(|line| line.split(' ').nth(4) == Some(&*mount));
        let source = line.and_then(|line| line.split(" - ").nth(1)?.split(' ').nth(1));
        let name = source.and_then(|source| source.strip_prefix("/dev/"));
        Ok(name.context("the file system is not mounted")?.to_owned())
    }

    fn mount(&mut self) -> anyhow::Result<()> {
        run("mount", &["-o", OPTIONS], &[&self.image, &self.mount])?;
        self.mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + UNMOUNT_WITHIN;
        while let Err(problem) = run("umount", &[], &[&self.mount]) {
            if Instant::now() > deadline {
                return Err(problem);
            }
            std::thread::sleep(PAUSE);
        }
        self.mounted = false;
        Ok(())
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        if self.mounted && self.unmount().is_err() {
            let _ = run("umount", &["--lazy"], &[&self.mount]);
        }
        let _ = fs::remove_file(&self.image);
        let _ = fs::remove_dir(&self.mount);
    }
}

impl Survey {
    /// Of all files below a folder; the bytes of those that are asked for are read.
    ///
    /// # Errors
    /// The disk's word.
    pub fn of(root: &Path, read: impl Fn(&Path) -> bool) -> anyhow::Result<Self> {
        let mut found = BTreeMap::new();
        for name in super::folders::files_below(root)? {
            // It may be renamed meanwhile.
            if let Ok(seen) = fs::metadata(root.join(&name)) {
                let hash = read(&name)
                    .then(|| hash_of(&root.join(&name)))
                    .transpose()?;
                let seen = Seen {
                    len: seen.len(),
                    changed: nanoseconds(&seen),
                    hash,
                };
                found.insert(name, seen);
            }
        }
        Ok(Self(found))
    }

    /// What a later survey has no more, of the files that are asked for.
    pub fn lost(&self, later: &Self, of: impl Fn(&Path) -> bool) -> Lost {
        let mut lost = Lost::default();
        for (name, was) in self.0.iter().filter(|(name, _)| of(name)) {
            match later.0.get(name) {
                None => {
                    lost.files += 1;
                    lost.bytes += was.len;
                }
                Some(left) if left.len < was.len => {
                    lost.shorter += 1;
                    lost.bytes += was.len - left.len;
                }
                Some(left) => lost.changed += u64::from(left != was),
            }
        }
        for name in later.0.keys() {
            lost.back += u64::from(of(name) && !self.0.contains_key(name));
        }
        lost
    }
}

impl Lost {
    /// Whether there is anything.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// When a file was last changed, in nanoseconds.
pub(crate) fn nanoseconds(of: &fs::Metadata) -> i128 {
    i128::from(of.mtime()) * 1_000_000_000 + i128::from(of.mtime_nsec())
}

fn hash_of(file: &Path) -> anyhow::Result<u64> {
    let mut hasher = DefaultHasher::new();
    hasher.write(&fs::read(file)?);
    Ok(hasher.finish())
}

#[derive(PartialEq, Eq)]
struct Activity {
    written: u64,
    discarded: u64,
    in_flight: u64,
}

/// What a device has done and does.
fn activity(device: &str) -> anyhow::Result<Activity> {
    let text = fs::read_to_string(format!("/sys/block/{device}/stat"))?;
    let numbers = text.split_whitespace().map(str::parse);
    let numbers = numbers.collect::<Result<Vec<u64>, _>>()?;
    let field = |at: usize| numbers.get(at).copied().context("counters are missing");
    Ok(Activity {
        written: field(4)?,
        discarded: field(11)?,
        in_flight: field(8)?,
    })
}
