//! Files that are no plugin of this node: another ABI, cut off, damaged, or nothing but noise.

use anyhow::Result;
use weir_host::plugin::{PluginError, PluginSettings, PluginSource};
use weir_tests::guests::guest;

use super::scene::{Scene, file};

/// Damaged files that are tried: `WEIR_DAMAGED` says how many in the long form.
const DAMAGED: u64 = 60;
/// What a file may be refused with that was a plugin once.
const REFUSALS: [&str; 7] =
    ["not-wasm", "malformed", "other-world", "other-abi-version", "unlinkable", "bad-manifest", "start-failed"];

/// Numbers that are the same in every run (SplitMix64).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

fn named(name: &str, bytes: Vec<u8>) -> PluginSource {
    PluginSource { bytes, path: Some(name.into()), settings: PluginSettings::default() }
}

fn check_words(error: &PluginError, name: &str) {
    let text = error.to_string();
    assert!(text.contains(name), "the file is named: {text}");
    assert!(text.len() < 4_096 && !text.trim().contains('\n'), "one paragraph: {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn other_abi() -> Result<()> {
    Scene::play(async |scene: &Scene| {
        let error = scene.refused(file("other_abi")?).await?;
        assert_eq!(error.code(), "other-abi-version");
        let text = error.to_string();
        assert!(text.contains("weir:plugin@0.9.0") && text.contains("this node serves weir:plugin@0.1"), "{text}");
        assert!(text.contains("other_abi.wasm"), "{text}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_cut_off_anywhere_is_refused() -> Result<()> {
    Scene::play(async |scene: &Scene| {
        let whole = guest("counter");
        let steps = 24;
        for step in 0..steps {
            let bytes = whole[..whole.len() * step / steps].to_vec();
            let error = scene.refused(named("cut.wasm", bytes)).await?;
            let expected: &[&str] = match step {
                0 => &["not-wasm"],
                // Where a section ends a file is whole as far as it goes, and only lacks what makes it a plugin.
                _ => &["malformed", "other-world", "unlinkable"],
            };
            assert!(expected.contains(&error.code()), "{step}: {error}");
            check_words(&error, "cut.wasm");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_is_refused_with_and_without_the_first_bytes_of_a_plugin() -> Result<()> {
    Scene::play(async |scene: &Scene| {
        let mut noise = Noise(7);
        for round in 0..40 {
            let len = noise.below(64 << 10);
            let head: &[u8] = [&b""[..], b"\0asm\x01\0\0\0", b"\0asm\x0d\0\x01\0", b"\0asm"][round % 4];
            let bytes = [head, &noise.bytes(len)].concat();
            let error = scene.refused(named("noise.wasm", bytes)).await?;
            let expected = if head.is_empty() { "not-wasm" } else { "malformed" };
            assert_eq!(error.code(), expected, "round {round}: {error}");
            check_words(&error, "noise.wasm");
        }
        Ok(())
    })
    .await
}

/// Whatever is changed in a plugin's file, it is refused in words, or runs within its bounds and can be unloaded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_harms_nobody() -> Result<()> {
    let rounds = std::env::var("WEIR_DAMAGED").ok().and_then(|text| text.parse().ok()).unwrap_or(DAMAGED);
    Scene::play(async |scene: &Scene| {
        let (whole, mut noise, mut loaded) = (guest("counter"), Noise(1), 0);
        for round in 0..rounds {
            let mut bytes = whole.clone();
            for _ in 0..=noise.below(8) {
                let at = noise.below(bytes.len());
                bytes[at] = noise.next() as u8;
            }
            match scene.node.host.plugins().load(named("damaged.wasm", bytes)).await {
                Ok(info) => {
                    loaded += 1;
                    scene.unloads(&info.name).await?;
                }
                Err(error) => {
                    assert!(REFUSALS.contains(&error.code()), "round {round}: {} {error}", error.code());
                }
            }
        }
        eprintln!("{rounds} damaged files: {loaded} were loaded all the same");
        scene.flows().await
    })
    .await
}
