//! Whether a file may run at all: by its signature and its digest, before anything of it is compiled. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::signature::{SignatureFile, SignatureProblem};
use crate::peer::PeerId;
use crate::plugin::PluginError;

/// What becomes of files without a signature by a trusted key. A pinned digest says more than a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignaturePolicy {
    /// They are refused.
    Require,
    /// They run, and the log says so.
    Warn,
    /// They run. Signatures by trusted keys still count for who owns a store.
    #[default]
    Off,
}

/// What an operator says about plugin files. The default trusts nobody in particular and refuses nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// See there.
    pub policy: SignaturePolicy,
    /// Ed25519 public keys whose signatures count.
    pub keys: BTreeSet<PeerId>,
    /// The only content that may run under a name: that of a plugin, or that of a file without its `.wasm`.
    pub pins: BTreeMap<String, Digest>,
}

/// Who a file is, as far as the operator's trust goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::plugin) struct Identity {
    pub(in crate::plugin) digest: Digest,
    /// Whose signature it has, if that one is trusted.
    pub(in crate::plugin) signer: Option<PeerId>,
    /// Whether the operator named this very content.
    pub(in crate::plugin) pinned: bool,
    /// What stood in its signature file, to be kept with it.
    pub(in crate::plugin) signature: Option<String>,
}

impl Trust {
    /// Looks at a file whose name in messages is `file`, and whose settings stand under `section`.
    pub(in crate::plugin) fn check(
        &self,
        file: &str,
        section: Option<&str>,
        digest: Digest,
        signature: Option<&str>,
    ) -> Result<Identity, PluginError> {
        let pinned = match section {
            Some(section) => self.check_pin(file, section, &digest)?,
            None => false,
        };
        let signed = signature.map(|text| signer(text, &digest)).transpose();
        let signer = signed.as_ref().ok().copied().flatten().filter(|signer| self.keys.contains(signer));
        let identity = Identity { digest, signer, pinned, signature: signature.map(str::to_owned) };
        if signer.is_some() || pinned {
            return Ok(identity);
        }
        let problem = match signed {
            Ok(None) => PluginError::Unsigned { file: file.to_owned() },
            Ok(Some(signer)) => PluginError::UntrustedSigner { file: file.to_owned(), signer: signer.to_string() },
            Err(problem) => PluginError::BadSignature { file: file.to_owned(), reason: problem.to_string() },
        };
        match self.policy {
            SignaturePolicy::Require => return Err(problem),
            SignaturePolicy::Warn => {
                tracing::warn!(target: "weir::plugin", "{problem}; plugins.signatures is `warn`, so it runs all the same")
            }
            SignaturePolicy::Off if matches!(problem, PluginError::BadSignature { .. }) => {
                tracing::warn!(target: "weir::plugin", "{problem}; plugins.signatures is `off`, so it counts as unsigned");
            }
            SignaturePolicy::Off => {}
        }
        Ok(identity)
    }

    /// Whether the content is the one pinned for a name; an error when another one is.
    pub(in crate::plugin) fn check_pin(&self, file: &str, section: &str, digest: &Digest) -> Result<bool, PluginError> {
        match self.pins.get(section) {
            None => Ok(false),
            Some(pinned) if pinned == digest => Ok(true),
            Some(pinned) => Err(PluginError::DigestMismatch {
                file: file.to_owned(),
                section: section.to_owned(),
                pinned: pinned.to_string(),
                found: digest.to_string(),
            }),
        }
    }
}

/// Whoever signed the content, trusted or not.
fn signer(text: &str, digest: &Digest) -> Result<PeerId, SignatureProblem> {
    let signature: SignatureFile = text.parse()?;
    signature.verify(digest)?;
    Ok(signature.signer)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{key, make};
    use super::*;

    fn trust(policy: SignaturePolicy) -> Trust {
        Trust { policy, keys: [key(1).peer_id()].into(), pins: BTreeMap::new() }
    }

    fn code(outcome: Result<Identity, PluginError>) -> &'static str {
        outcome.map_or_else(|error| error.code(), |_| "ok")
    }

    #[test]
    fn each_policy_decides_each_case() {
        use SignaturePolicy::{Off, Require, Warn};
        let digest = Digest::of(b"a plugin");
        let trusted = make(1, &digest).to_string();
        let stranger = make(2, &digest).to_string();
        let wrong = make(1, &Digest::of(b"another")).to_string();
        let cases = [
            (None, "unsigned"),
            (Some(trusted.as_str()), "ok"),
            (Some(stranger.as_str()), "untrusted-signer"),
            (Some(wrong.as_str()), "bad-signature"),
            (Some("nonsense"), "bad-signature"),
        ];
        for (signature, required) in cases {
            let check = |policy| code(trust(policy).check("x.wasm", Some("x"), digest, signature));
            assert_eq!((check(Require), check(Warn), check(Off)), (required, "ok", "ok"), "{signature:?}");
        }
        let signed = trust(Off).check("x.wasm", None, digest, Some(&trusted)).expect("ok");
        assert_eq!(signed.signer, Some(key(1).peer_id()));
        let unknown = trust(Off).check("x.wasm", None, digest, Some(&stranger)).expect("ok");
        assert_eq!(unknown.signer, None);
    }

    #[test]
    fn a_pin_admits_one_content_and_no_other() {
        let (digest, other) = (Digest::of(b"a plugin"), Digest::of(b"another"));
        let trust = Trust { pins: [("x".to_owned(), digest)].into(), ..trust(SignaturePolicy::Require) };
        assert!(trust.check("x.wasm", Some("x"), digest, None).expect("pinned").pinned);
        let signed = make(1, &other).to_string();
        let error = trust.check("x.wasm", Some("x"), other, Some(&signed)).expect_err("not pinned");
        assert_eq!(error.code(), "digest-mismatch");
        assert!(error.to_string().contains(&other.to_string()), "{error}");
        assert_eq!(code(trust.check("y.wasm", Some("y"), digest, None)), "unsigned");
    }
}
