//! Makes tokens, for `stampede token` and for tests. A shop makes its own.

use serde_json::{Value, json};

use super::keys::{KeySet, encode};

/// What a token is to say.
#[derive(Debug, Clone)]
pub struct Order<'a> {
    /// Who buys.
    pub user: &'a str,
    /// Whose token it is: the service.
    pub audience: &'a str,
    /// The ids of the sales.
    pub sales: &'a [String],
    /// The most units of one reservation.
    pub max: Option<u32>,
    /// From when on, in ms since 1970.
    pub from_ms: u64,
    /// Until when, in ms since 1970.
    pub until_ms: u64,
}

/// A token, signed by the key of this name. `None`: the key is not there, or only its public part.
pub fn mint(keys: &KeySet, kid: &str, order: &Order<'_>) -> Option<String> {
    let key = keys.find(kid)?;
    let header = json!({ "alg": key.algorithm().name(), "typ": "JWT", "kid": kid });
    let mut claims = json!({
        "sub": order.user,
        "aud": order.audience,
        "sales": order.sales,
        "nbf": order.from_ms / 1000,
        "exp": order.until_ms.div_ceil(1000),
    });
    if let Some(max) = order.max {
        claims["max"] = max.into();
    }
    let part = |value: &Value| encode(value.to_string().as_bytes());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature = encode(&key.sign(signed.as_bytes())?);
    Some(format!("{signed}.{signature}"))
}
