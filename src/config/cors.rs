//! The web pages that may read answers of the buyers' port (the Fetch standard, section 3.3).

use super::builder::ConfigBuilder;
use crate::limits::CORS_ORIGINS_MAX;

/// The setting.
pub(super) const CORS_ORIGINS: &str = "cors-origins";

/// Which pages may read answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CorsSetting {
    /// None but those that come from the port itself.
    #[default]
    Off,
    /// All.
    Any,
    /// Those of these origins: scheme, host and, unless it is the scheme's own, port.
    Origins(Vec<String>),
}

impl CorsSetting {
    /// The value of `Access-Control-Allow-Origin` for a page of this origin, if it may read responses.
    pub fn allowed(&self, origin: &[u8]) -> Option<&str> {
        match self {
            Self::Off => None,
            Self::Any => Some("*"),
            Self::Origins(origins) => {
                origins.iter().find(|known| known.as_bytes() == origin).map(String::as_str)
            }
        }
    }

    /// The values that it was given by, or would be.
    pub(super) fn values(&self) -> Vec<&str> {
        match self {
            Self::Off => Vec::new(),
            Self::Any => vec!["*"],
            Self::Origins(origins) => origins.iter().map(String::as_str).collect(),
        }
    }
}

/// An origin as browsers send it: `https://shop.example`, `http://localhost:8080`.
fn origin(text: &str) -> Result<String, String> {
    let shape =
        || "must be an origin such as https://shop.example, without a path, or *".to_owned();
    let (scheme, rest) = text.split_once("://").ok_or_else(shape)?;
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte);
    if !matches!(scheme, "http" | "https") || rest.is_empty() || !rest.bytes().all(is_host) {
        return Err(shape());
    }
    if rest.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("browsers send the host in lower case".to_owned());
    }
    let own = if scheme == "https" { ":443" } else { ":80" };
    if rest.ends_with(own) {
        return Err(format!("browsers leave {own} out"));
    }
    Ok(text.to_owned())
}

impl ConfigBuilder {
    pub(super) fn cors(&mut self) -> CorsSetting {
        let given = self.layers.values(CORS_ORIGINS).unwrap_or_default().to_vec();
        let mut origins: Vec<String> = Vec::new();
        for text in given.iter().flat_map(|text| text.split(',')).map(str::trim) {
            if text == "*" && given.len() == 1 {
                return CorsSetting::Any;
            }
            match origin(text) {
                Ok(origin) if origins.contains(&origin) => {
                    self.reject(CORS_ORIGINS, text, "is given twice");
                }
                Ok(origin) => origins.push(origin),
                Err(problem) => self.reject(CORS_ORIGINS, text, &problem),
            }
        }
        if origins.len() > CORS_ORIGINS_MAX {
            let problem = format!("{} origins, at most {CORS_ORIGINS_MAX}", origins.len());
            self.reject(CORS_ORIGINS, &given[given.len() - 1], &problem);
        }
        if origins.is_empty() { CorsSetting::Off } else { CorsSetting::Origins(origins) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_parsed_strictly() {
        for right in ["https://shop.example", "http://localhost:8080", "http://[::1]:80801"] {
            assert_eq!(origin(right).as_deref(), Ok(right));
        }
        for wrong in [
            "",
            "*",
            "null",
            "shop.example",
            "https://",
            "https://shop.example/",
            "https://a@b",
            "ftp://shop.example",
            "https://Shop.example",
            "https://shop.example:443",
            "http://shop.example:80",
        ] {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_listed_origins_are_allowed() {
        let some = CorsSetting::Origins(vec!["https://shop.example".to_owned()]);
        assert_eq!(some.allowed(b"https://shop.example"), Some("https://shop.example"));
        for other in [&b"https://shop.example.evil"[..], b"http://shop.example", b"null", b""] {
            assert_eq!(some.allowed(other), None);
        }
        assert_eq!(CorsSetting::Any.allowed(b"null"), Some("*"));
        assert_eq!(CorsSetting::Off.allowed(b"https://shop.example"), None);
    }
}
