//! The digest at the end of a snapshot, verified while it passes.

use sha2::{Digest, Sha256};

/// The bytes of a SHA-256.
const DIGEST: usize = 32;
/// The pages of etcd's storage are multiples of this.
const PAGE: u64 = 512;

/// Bytes that end with the SHA-256 of all before it.
#[derive(Default)]
pub(super) struct Digested {
    hash: Sha256,
    /// The last bytes, at most as many as a digest has, which may be the digest.
    tail: Vec<u8>,
    size: u64,
}

impl Digested {
    /// Takes the next bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.tail.extend_from_slice(bytes);
        let content = self.tail.len().saturating_sub(DIGEST);
        self.hash.update(&self.tail[..content]);
        self.tail.drain(..content);
    }

    /// How many bytes there were, and their digest.
    ///
    /// # Errors
    /// Why they are no snapshot.
    pub(super) fn finish(self) -> Result<(u64, [u8; DIGEST]), String> {
        if self.size % PAGE != DIGEST as u64 {
            return Err(format!(
                "its {} bytes are not whole pages and a digest",
                self.size
            ));
        }
        let digest: [u8; DIGEST] = self.hash.finalize().into();
        if self.tail != digest {
            return Err("the digest at its end is not that of its content".to_owned());
        }
        Ok((self.size, digest))
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::Digested;

    fn snapshot() -> Vec<u8> {
        let mut bytes = vec![7; 2 * 512];
        let digest = Sha256::digest(&bytes);
        bytes.extend_from_slice(&digest);
        bytes
    }

    fn verify(bytes: &[u8], at_a_time: usize) -> Result<u64, String> {
        let mut digested = Digested::default();
        for part in bytes.chunks(at_a_time) {
            digested.feed(part);
        }
        digested.finish().map(|(size, _)| size)
    }

    #[test]
    fn a_whole_snapshot_is_accepted_however_it_is_cut() {
        for at_a_time in [1, 31, 32, 33, 500, 5000] {
            assert_eq!(verify(&snapshot(), at_a_time), Ok(2 * 512 + 32));
        }
    }

    #[test]
    fn what_is_short_or_changed_is_refused() {
        let whole = snapshot();
        for length in [0, 16, 32, 512, 512 + 32, 2 * 512, 2 * 512 + 31] {
            verify(&whole[..length], 100).unwrap_err();
        }
        for at in [0, 600, 2 * 512 - 1, 2 * 512, 2 * 512 + 31] {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            let told = verify(&changed, 100).unwrap_err();
            assert!(told.contains("digest"), "{told}");
        }
    }
}
