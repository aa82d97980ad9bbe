//! Building blocks of schemas.

use serde_json::{Value, json};

/// A reference to the schema with this name.
pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// An object with these members, of which the required ones are always there.
pub(super) fn object(required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties })
}

/// A list of items with this schema.
pub(super) fn list_of(name: &str) -> Value {
    json!({ "type": "array", "items": reference(name) })
}

/// A whole number that is not negative.
pub(super) fn whole_number() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

/// The same, or null.
pub(super) fn or_null(mut schema: Value) -> Value {
    schema["type"] = json!([schema["type"], "null"]);
    schema
}

/// The position of the next page of a list.
pub(super) fn next() -> Value {
    json!({ "type": ["string", "null"], "description": "`after` of the next page, if there is one." })
}
