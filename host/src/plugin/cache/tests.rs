//! What the cache gives back, what it throws away, and what goes first.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::entry::Name;
use super::*;

struct Key(u8);

impl Signer for Key {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut signature = [self.0; 64];
        signature.iter_mut().zip(message).for_each(|(byte, of)| *byte ^= of);
        signature
    }
}

struct Scene {
    config: CacheConfig,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn new(max_bytes: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = CacheConfig { folder: folder.path().join("deep/code"), max_bytes };
        Self { config, _folder: folder }
    }

    fn open(&self) -> CodeCache {
        CodeCache::open(&self.config, &Key(7), "engine").expect("opened")
    }
}

fn code(found: Found) -> Option<Vec<u8>> {
    match found {
        Found::Code(code) => Some(code),
        _ => None,
    }
}

#[test]
fn what_was_kept_is_found_again_by_the_same_node_and_engine_only() {
    let scene = Scene::new(10_000);
    let cache = scene.open();
    let name = cache.name(b"component");
    assert!(matches!(cache.get(&name), Found::Nothing));
    cache.put(&name, b"machine code").expect("kept");
    assert_eq!(code(scene.open().get(&name)).as_deref(), Some(b"machine code".as_slice()));
    let other_engine = CodeCache::open(&scene.config, &Key(7), "engine 2").expect("opened");
    assert!(matches!(other_engine.get(&other_engine.name(b"component")), Found::Nothing));
    let other_node = CodeCache::open(&scene.config, &Key(8), "engine").expect("opened");
    assert!(matches!(other_node.get(&name), Found::Damaged(_)));
    assert!(matches!(cache.get(&name), Found::Nothing), "what another node finds damaged is gone");
}

#[test]
fn folder_and_files_are_for_the_owner_alone() {
    let scene = Scene::new(10_000);
    let cache = scene.open();
    let name = cache.name(b"component");
    cache.put(&name, b"code").expect("kept");
    let folder = &scene.config.folder;
    assert_eq!((folder::mode(folder), folder::mode(&cache.folder.path(&name))), (0o700, 0o600));
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("opened to others");
    assert_eq!(code(scene.open().get(&name)).as_deref(), Some(b"code".as_slice()));
    assert_eq!(folder::mode(folder), 0o700);
}

#[test]
fn damage_of_every_kind_is_thrown_away() {
    let scene = Scene::new(10_000);
    let cache = scene.open();
    let (name, other) = (cache.name(b"component"), cache.name(b"other"));
    let path = cache.folder.path(&name);
    cache.put(&other, b"other code").expect("kept");
    let damages: [&dyn Fn(); 6] = [
        &|| fs::write(&path, b"").expect("written"),
        &|| fs::write(&path, b"\x7fELF and more").expect("written"),
        &|| {
            let mut bytes = fs::read(&path).expect("read");
            *bytes.last_mut().expect("not empty") ^= 1;
            fs::write(&path, bytes).expect("written");
        },
        // Code of another plugin under this name, untouched.
        &|| {
            fs::copy(cache.folder.path(&other), &path).expect("copied");
        },
        &|| {
            fs::remove_file(&path).expect("removed");
            std::os::unix::fs::symlink(cache.folder.path(&other), &path).expect("linked");
        },
        &|| {
            fs::remove_file(&path).expect("removed");
            fs::create_dir_all(path.join("in the way")).expect("made");
        },
    ];
    for damage in damages {
        cache.put(&name, b"code").expect("kept");
        damage();
        assert!(matches!(cache.get(&name), Found::Damaged(_)));
        assert!(matches!(cache.get(&name), Found::Nothing));
    }
    assert_eq!(code(cache.get(&other)).as_deref(), Some(b"other code".as_slice()));
}

#[test]
fn what_was_not_used_for_longest_goes_first() {
    let scene = Scene::new(1_000);
    let cache = scene.open();
    let names: Vec<_> = (0..5).map(|n| Name::from_bytes([n; 32])).collect();
    // The date of a file may be as coarse as a tick of the clock, so it is set.
    let used = |at: usize, seconds: u64| {
        let file = fs::OpenOptions::new().write(true).open(cache.folder.path(&names[at])).expect("there");
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).expect("dated");
    };
    for (at, name) in names.iter().enumerate().take(3) {
        cache.put(name, &[0; 200]).expect("kept");
        used(at, 100 + at as u64);
    }
    assert!(code(cache.get(&names[0])).is_some(), "and now it is the youngest");
    cache.put(&names[3], &[0; 300]).expect("kept");
    let there = names.iter().map(|name| cache.folder.path(name).exists()).collect::<Vec<_>>();
    assert_eq!(there, [true, false, true, true, false]);
    cache.put(&names[4], &[0; 2_000]).expect("not an error");
    assert!(!cache.folder.path(&names[4]).exists(), "larger than the whole cache");
    assert!(code(cache.get(&names[3])).is_some());
}

#[test]
fn a_crash_leaves_nothing_half_written() {
    let scene = Scene::new(1_000);
    drop(scene.open());
    let partial = scene.config.folder.join("0011.partial");
    let foreign = scene.config.folder.join("notes.txt");
    fs::write(&partial, b"half").expect("written");
    fs::write(&foreign, b"mine").expect("written");
    drop(scene.open());
    assert!(!partial.exists() && foreign.exists());
}
