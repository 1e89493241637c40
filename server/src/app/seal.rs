//! Tokens that clients carry and cannot read or forge: AES-256-GCM under the store's key.

use crate::auth::Principal;
use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// How long a token is good.
const GOOD_FOR: SignedDuration = SignedDuration::from_hours(24);
const NONCE: usize = 12;
/// The longest token that is looked at, in characters.
const LONGEST: usize = 4096;

/// Seals and opens tokens.
pub(super) struct Sealer(RandomizedNonceKey);

#[derive(Serialize, Deserialize)]
struct Sealed<T> {
    /// When it was sealed, in seconds since 1970.
    at: i64,
    body: T,
}

impl Sealer {
    pub(super) fn new(key: &[u8; 32]) -> Option<Self> {
        RandomizedNonceKey::new(&AES_256_GCM, key).ok().map(Self)
    }

    /// A token that only this principal can use for this purpose (the method and its query).
    pub(super) fn seal<T: Serialize>(
        &self,
        who: &Principal,
        purpose: &str,
        body: &T,
        now: Timestamp,
    ) -> Option<String> {
        let mut bytes = serde_json::to_vec(&Sealed { at: now.as_second(), body }).ok()?;
        let nonce = self.0.seal_in_place_append_tag(aad(who, purpose), &mut bytes).ok()?;
        let mut token = nonce.as_ref().to_vec();
        token.append(&mut bytes);
        Some(URL_SAFE_NO_PAD.encode(token))
    }

    /// The content of a token, or `None` if it is forged, foreign or too old.
    pub(super) fn open<T: DeserializeOwned>(
        &self,
        who: &Principal,
        purpose: &str,
        token: &str,
        now: Timestamp,
    ) -> Option<T> {
        if token.len() > LONGEST {
            return None;
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        if bytes.len() <= NONCE {
            return None;
        }
        let mut sealed = bytes.split_off(NONCE);
        let nonce = Nonce::try_assume_unique_for_key(&bytes).ok()?;
        let opened = self.0.open_in_place(nonce, aad(who, purpose), &mut sealed).ok()?;
        let Sealed { at, body } = serde_json::from_slice(opened).ok()?;
        let age = now.duration_since(Timestamp::from_second(at).ok()?);
        (age <= GOOD_FOR).then_some(body)
    }
}

fn aad(who: &Principal, purpose: &str) -> Aad<Vec<u8>> {
    Aad::from(format!("{who}\u{1f}{purpose}").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_only_for_its_owner_its_purpose_and_a_day() {
        let sealer = Sealer::new(&[7; 32]).unwrap();
        let me = Principal::local();
        let now = Timestamp::UNIX_EPOCH;
        let token = sealer.seal(&me, "list", &"here", now).unwrap();
        let open = |purpose: &str, token: &str, at| sealer.open::<String>(&me, purpose, token, at);
        assert_eq!(open("list", &token, now).as_deref(), Some("here"));
        assert_eq!(open("other list", &token, now), None);
        assert_eq!(open("list", &token, now + SignedDuration::from_hours(25)), None);
        assert_eq!(open("list", &format!("{token}A"), now), None);
        assert_eq!(open("list", "", now), None);
        assert_eq!(Sealer::new(&[8; 32]).unwrap().open::<String>(&me, "list", &token, now), None);
    }
}
