//! Creates tokens, for `stampede token` and for tests. A shop creates its own.

use serde_json::{Value, json};

use super::keys::{KeySet, encode};

/// The claims of a new token.
#[derive(Debug, Clone)]
pub struct Claims<'a> {
    /// The user: `sub`.
    pub user: &'a str,
    /// The audience: `aud`, the name of the service.
    pub audience: &'a str,
    /// The ids of the sales.
    pub sales: &'a [String],
    /// Maximum number of units per reservation.
    pub max: Option<u32>,
    /// Start of validity, in ms since 1970.
    pub from_ms: u64,
    /// End of validity, in ms since 1970.
    pub until_ms: u64,
}

/// Creates a token, signed by the key with this name. `None`: the key is unknown, or has no private
/// part.
pub fn mint(keys: &KeySet, kid: &str, claims: &Claims<'_>) -> Option<String> {
    let key = keys.find(kid)?;
    let header = json!({ "alg": key.algorithm().name(), "typ": "JWT", "kid": kid });
    let mut payload = json!({
        "sub": claims.user,
        "aud": claims.audience,
        "sales": claims.sales,
        "nbf": claims.from_ms / 1000,
        "exp": claims.until_ms.div_ceil(1000),
    });
    if let Some(max) = claims.max {
        payload["max"] = max.into();
    }
    let part = |value: &Value| encode(value.to_string().as_bytes());
    let signed = format!("{}.{}", part(&header), part(&payload));
    let signature = encode(&key.sign(signed.as_bytes())?);
    Some(format!("{signed}.{signature}"))
}
