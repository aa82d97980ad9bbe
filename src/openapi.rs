//! `/openapi.json`: the endpoints of a port as OpenAPI 3.1, from the routing table.
//!
//! The table has paths, methods, parameters and rights. `operations` describes the requests and
//! answers of each operation, `schemas` the bodies. The document does not depend on the settings.

mod operations;
mod schemas;
mod shapes;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use self::operations::{Answer, Description, describe};
use crate::code::ErrorCode;
use crate::engine::http::{Kind, Method};
use crate::route::table::{ENDPOINTS, Endpoint, Operation, Port, Right};

/// The media type of problems.
const PROBLEM: &str = "application/problem+json";

/// The document of a port.
pub fn document(port: Port) -> &'static [u8] {
    static PUBLIC: LazyLock<Vec<u8>> = LazyLock::new(|| text(Port::Public));
    static CONTROL: LazyLock<Vec<u8>> = LazyLock::new(|| text(Port::Control));
    match port {
        Port::Public => &PUBLIC,
        Port::Control => &CONTROL,
    }
}

fn text(port: Port) -> Vec<u8> {
    let mut text = value(port).to_string().into_bytes();
    text.push(b'\n');
    text
}

fn value(port: Port) -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for endpoint in ENDPOINTS {
        let Some(right) = endpoint.right(port) else { continue };
        for method in endpoint.methods {
            let path = paths.entry(endpoint.path).or_default();
            let name = method.as_str().to_ascii_lowercase();
            path.insert(name, operation(port, endpoint, *method, right));
        }
    }
    let (title, description, schemes) = match port {
        Port::Public => (
            "stampede: buyers and the shop",
            "For buyers, and for the shop's back end with its token.",
            json!({
                "buyer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "A token of the shop for one user, where the server has \
                                    --admission-keys.",
                },
                "shop": bearer("The shop's token, from --shop-token-file."),
            }),
        ),
        Port::Control => (
            "stampede: operators",
            "The control port. Without a token, every caller on loopback may make every request.",
            json!({
                "operator": bearer("The control port's token, from --control-token-file."),
                "shop": bearer("The shop's token, from --shop-token-file."),
                "reader": bearer("The token that can only read, from --read-token-file."),
            }),
        ),
    };
    json!({
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": title,
            "description": description,
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": { "schemas": schemas::all(port), "securitySchemes": schemes },
    })
}

fn bearer(description: &str) -> Value {
    json!({ "type": "http", "scheme": "bearer", "description": description })
}

fn operation(port: Port, endpoint: &Endpoint, method: Method, right: Right) -> Value {
    let Description { summary, detail, body, answers, problems } =
        describe(port, endpoint.operation);
    let name = operation_id(endpoint, method);
    let mut operation = json!({
        "operationId": name,
        "summary": summary,
        "description": detail,
        "parameters": parameters(port, endpoint),
        "responses": responses(port, endpoint, right, &answers, &problems),
        "security": security(port, endpoint.operation, right),
    });
    if let Some(body) = body {
        operation["requestBody"] = json!({
            "required": body.required,
            "content": { "application/json": { "schema": schemas::reference(body.schema) } },
        });
    }
    operation
}

/// `BuyTicket` with GET is `buyTicket`; with another method the name contains it.
fn operation_id(endpoint: &Endpoint, method: Method) -> String {
    let name = format!("{:?}", endpoint.operation);
    let (first, rest) = name.split_at(1);
    let by = match method == endpoint.methods[0] {
        true => String::new(),
        false => format!("By{:?}", method),
    };
    format!("{}{rest}{by}", first.to_ascii_lowercase())
}

/// The required credentials. An empty alternative means that none is needed.
fn security(port: Port, operation: Operation, right: Right) -> Value {
    let is_buyers = matches!(
        operation,
        Operation::BuyTicket | Operation::Reserve | Operation::ShowReservation | Operation::Cancel
    );
    if port == Port::Public && is_buyers {
        return json!([{}, { "buyer": [] }, { "shop": [] }]);
    }
    let schemes: &[&str] = match (port, right) {
        (_, Right::Open) => &[],
        (Port::Public, _) => &["shop"],
        (Port::Control, Right::SeeSales) => &["operator", "shop", "reader"],
        (Port::Control, Right::SeeServer) => &["operator", "reader"],
        (Port::Control, Right::Shop) => &["operator", "shop"],
        (Port::Control, Right::Operate) => &["operator"],
    };
    schemes.iter().map(|scheme| json!({ *scheme: [] })).collect()
}

fn parameters(port: Port, endpoint: &Endpoint) -> Vec<Value> {
    let mut parameters = Vec::new();
    if let Some((_, rest)) = endpoint.path.split_once('{')
        && let Some((name, _)) = rest.split_once('}')
    {
        let schema = if name == "sale" { "SaleId" } else { "ReservationId" };
        parameters.push(json!({
            "name": name,
            "in": "path",
            "required": true,
            "schema": schemas::reference(schema),
        }));
    }
    for name in endpoint.parameters.unwrap_or_default() {
        parameters.push(operations::parameter(endpoint.operation, name));
    }
    if port == Port::Public
        && matches!(endpoint.operation, Operation::BuyTicket | Operation::Reserve)
    {
        parameters.push(operations::purchase_header());
    }
    parameters
}

/// The possible answers: successes, and problems by status with all their codes.
fn responses(
    port: Port,
    endpoint: &Endpoint,
    right: Right,
    answers: &[Answer],
    problems: &[&'static Kind],
) -> Map<String, Value> {
    let mut responses = Map::new();
    let mut by_status: BTreeMap<u16, Vec<&'static Kind>> = BTreeMap::new();
    let needs_right = (right != Right::Open).then_some([Kind::UNAUTHORIZED, Kind::FORBIDDEN]);
    // Without a token the control port checks the origin of every request.
    let guarded = (port == Port::Control).then_some([Kind::UNAUTHORIZED, Kind::FORBIDDEN]);
    let all = problems
        .iter()
        .copied()
        .chain(needs_right.into_iter().flatten())
        .chain(guarded.into_iter().flatten())
        .chain(operations::PROTOCOL.iter().copied());
    for kind in all {
        let kinds = by_status.entry(kind.status.code()).or_default();
        if !kinds.iter().any(|other| other.code == kind.code) {
            kinds.push(kind);
        }
    }
    for (status, kinds) in by_status {
        responses.insert(status.to_string(), problem(status, &kinds));
    }
    for answer in answers {
        let found = responses.remove(&answer.status.to_string());
        responses.insert(answer.status.to_string(), answered(answer, found));
    }
    if endpoint.operation == Operation::BuyTicket {
        for (status, codes) in buy_codes() {
            let found = responses.remove(&status.to_string());
            responses.insert(status.to_string(), buy_answer(status, &codes, found));
        }
    }
    responses
}

/// A success. `problem`: another answer with the same status.
fn answered(answer: &Answer, problem: Option<Value>) -> Value {
    let mut response = json!({ "description": answer.description });
    if let Some(found) = problem {
        response = found;
    }
    if let Some((media, schema)) = answer.content {
        response["content"][media] = json!({ "schema": schemas::reference(schema) });
    }
    response
}

fn problem(status: u16, kinds: &[&'static Kind]) -> Value {
    let codes: Vec<&str> = kinds.iter().map(|kind| kind.code).collect();
    let lines: Vec<String> =
        kinds.iter().map(|kind| format!("- `{}`: {}", kind.code, kind.detail)).collect();
    let mut response = json!({
        "description": lines.join("\n"),
        "content": { PROBLEM: { "schema": {
            "allOf": [schemas::reference("Problem")],
            "properties": { "status": { "const": status }, "code": { "enum": codes } },
        } } },
    });
    let mut headers = Map::new();
    if kinds.iter().any(|kind| kind.retry_after_s.is_some()) {
        headers.insert("Retry-After".into(), header("Seconds until it is worth asking again."));
    }
    match status {
        401 => _ = headers.insert("WWW-Authenticate".into(), header("How to say who asks.")),
        405 => _ = headers.insert("Allow".into(), header("The methods that the path takes.")),
        _ => {}
    }
    if !headers.is_empty() {
        response["headers"] = headers.into();
    }
    response
}

fn header(description: &str) -> Value {
    json!({ "description": description, "schema": { "type": "string" } })
}

/// The numbers of `/buy/ticket`, by status.
fn buy_codes() -> BTreeMap<u16, Vec<(i8, &'static str)>> {
    let mut codes: BTreeMap<u16, Vec<(i8, &'static str)>> = BTreeMap::new();
    for code in ErrorCode::ALL {
        if let Some(answer) = code.buy() {
            let name = code.kind().code;
            codes.entry(answer.status.code()).or_default().push((answer.code, name));
        }
    }
    codes
}

/// The answers of `/buy/ticket` with a status: a number, or a problem for a code that has no
/// number.
fn buy_answer(status: u16, codes: &[(i8, &str)], found: Option<Value>) -> Value {
    let mut numbers: Vec<i8> = codes.iter().map(|(number, _)| *number).collect();
    let mut lines: Vec<String> =
        codes.iter().map(|(number, name)| format!("- `{number}`: `{name}`")).collect();
    if status == 200 {
        numbers.push(1);
        lines.insert(0, "- `1`: granted".to_owned());
    }
    let mut response = found.unwrap_or_else(|| json!({ "description": "" }));
    let said = response["description"].as_str().unwrap_or_default();
    lines.extend((!said.is_empty()).then(|| said.to_owned()));
    response["description"] = lines.join("\n").into();
    response["content"]["application/json"] = json!({ "schema": {
        "allOf": [schemas::reference("Bought")],
        "properties": { "code": { "enum": numbers } },
    } });
    response
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::code::control;

    #[test]
    fn every_error_code_is_documented() {
        let texts = [Port::Public, Port::Control].map(|port| value(port).to_string()).concat();
        let own = ErrorCode::ALL.map(ErrorCode::kind);
        for kind in own.iter().chain(Kind::ALL).chain(control::ALL) {
            // Answered before there is a path, so they belong to no operation.
            let beyond = [Kind::BUSY, Kind::TOO_MANY_CONNECTIONS].contains(kind);
            assert!(beyond || texts.contains(&format!("{:?}", kind.code)), "{}", kind.code);
        }
        for answer in ErrorCode::ALL.into_iter().filter_map(ErrorCode::buy) {
            assert!(texts.contains(&format!("`{}`: ", answer.code)), "{answer:?}");
        }
    }

    #[test]
    fn every_reference_resolves_and_every_schema_is_used() {
        for port in [Port::Public, Port::Control] {
            let document = value(port);
            let mut found = HashSet::new();
            let mut rest = vec![&document];
            while let Some(value) = rest.pop() {
                match value {
                    Value::Object(members) => {
                        if let Some(Value::String(to)) = members.get("$ref") {
                            let pointer = to.strip_prefix('#').expect("within the document");
                            assert!(document.pointer(pointer).is_some(), "{to}");
                            found.insert(to.rsplit('/').next().unwrap_or_default().to_owned());
                        }
                        rest.extend(members.values());
                    }
                    Value::Array(values) => rest.extend(values),
                    _ => {}
                }
            }
            let schemas = document["components"]["schemas"].as_object().expect("schemas");
            for name in schemas.keys() {
                assert!(found.contains(name), "{name} of {port:?}");
            }
        }
    }

    #[test]
    fn operation_ids_are_unique() {
        for port in [Port::Public, Port::Control] {
            let document = value(port);
            let mut names = HashSet::new();
            for path in document["paths"].as_object().expect("paths").values() {
                for operation in path.as_object().expect("methods").values() {
                    assert!(names.insert(operation["operationId"].to_string()), "{operation}");
                    let answers = operation["responses"].as_object().expect("answers");
                    assert!(answers.keys().any(|status| status.starts_with('2')), "{operation}");
                }
            }
        }
    }
}
