//! Answers as text for people.

use serde_json::Value;

fn text(document: &Value, key: &str) -> String {
    match &document[key] {
        Value::String(text) => text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn again(document: &Value) -> &'static str {
    if document["retried"] == true { " (signed by an earlier call, sent again)" } else { "" }
}

pub(super) fn made(document: &Value) -> String {
    let (account, key) = (text(document, "account"), text(document, "key"));
    format!("account  {account}\nkey      {key} (secret: back it up, together with {key}.book once there is one)")
}

pub(super) fn genesis(document: &Value) -> String {
    let mut lines = vec![
        format!("file      {}", text(document, "file")),
        format!("genesis   {}", text(document, "genesis")),
        format!("issuer    {}", text(document, "issuer")),
        format!("recovery  {}", text(document, "recovery")),
    ];
    if document["recovery_key_file"].is_string() {
        let file = text(document, "recovery_key_file");
        lines.push(format!("          in {file}: move it to where the issuer's key is not"));
    }
    let payers = document["payers"].as_array().map_or(&[][..], Vec::as_slice);
    lines.extend(payers.iter().filter_map(Value::as_str).map(|payer| format!("payer     {payer}")));
    lines.join("\n")
}

pub(super) fn minted(document: &Value) -> String {
    let (amount, to) = (text(document, "amount"), text(document, "to"));
    format!("minted {amount} for {to}{}; it counts with the next epoch", again(document))
}

pub(super) fn epoch(document: &Value) -> String {
    let (epoch, root) = (text(document, "epoch"), text(document, "root"));
    let (operations, anchors) = (text(document, "operations"), text(document, "anchors"));
    let proofs = document["proofs"].as_u64().filter(|proofs| *proofs > 0);
    let proofs = proofs.map(|proofs| format!(", {proofs} proofs")).unwrap_or_default();
    let note = document["note"].as_str().map(|note| format!("\n{note}")).unwrap_or_default();
    format!(
        "epoch {epoch} is closed{}: {operations} operations, {anchors} anchors{proofs}\nroot  {root}{note}",
        again(document)
    )
}

pub(super) fn operation(document: &Value) -> String {
    let (operation, number) = (text(document, "operation"), text(document, "number"));
    let note = document["note"].as_str().map(|note| format!("\n{note}")).unwrap_or_default();
    format!("{operation}: pending as number {number}{}; an epoch will include it{note}", again(document))
}

pub(super) fn declared(document: &Value) -> String {
    let (amount, number) = (text(document, "amount"), text(document, "number"));
    format!("declared {amount} as number {number}{}; its record date is the next epoch", again(document))
}

pub(super) fn claimed(document: &Value) -> String {
    let total = text(document, "total");
    let note = document["note"].as_str().map(|note| format!("\n{note}")).unwrap_or_default();
    if document["up_to_epoch"].is_null() {
        return format!("nothing is due; {total} claimed so far{note}");
    }
    let (claimed, epoch) = (text(document, "claimed"), text(document, "up_to_epoch"));
    format!("claimed {claimed} up to epoch {epoch}{}; {total} in all{note}", again(document))
}

pub(super) fn rotated(document: &Value) -> String {
    let (new_key, reign, number) = (text(document, "new_key"), text(document, "reign"), text(document, "number"));
    let file = document["key_file"].as_str().map(|_| format!("\nits key is in {}", text(document, "key_file")));
    format!(
        "{new_key} is the issuer from number {number} on, reign {reign}{}{}",
        again(document),
        file.unwrap_or_default()
    )
}

pub(super) fn shown(document: &Value) -> String {
    let line = |name: &str, value: String| format!("{name:<13}{value}");
    let mut lines = vec![line("account", text(document, "account"))];
    let roles: Vec<_> = document["roles"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !roles.is_empty() {
        lines.push(line("roles", roles.join(", ")));
    }
    let symbol = text(document, "symbol");
    lines.push(line("epoch", format!("{} ({})", text(document, "epoch"), text(document, "state"))));
    lines.push(line("balance", format!("{} {symbol}", text(document, "balance"))));
    lines.push(line("staked", format!("{} {symbol}", text(document, "staked"))));
    for one in document["unbonding"].as_array().into_iter().flatten() {
        let (amount, epoch) = (text(one, "amount"), text(one, "matures_epoch"));
        lines.push(line("unbonding", format!("{amount} {symbol}, mature in epoch {epoch}")));
    }
    lines.push(line("pending", text(document, "pending")));
    if document["frozen"] == true {
        lines.push(line("frozen", "it signed two operations with one number".to_owned()));
    }
    if let [number, reason] = document["last_refused"].as_array().map_or(&[][..], Vec::as_slice) {
        lines.push(line("did nothing", format!("operation {number}: {}", reason.as_str().unwrap_or_default())));
    }
    let dividend = &document["dividend"];
    if dividend.is_object() {
        let (claimable, claimed) = (text(dividend, "claimable"), text(dividend, "claimed"));
        let behind = dividend["epoch"].as_u64() < document["epoch"].as_u64();
        let stand = if behind { format!(" (up to epoch {})", text(dividend, "epoch")) } else { String::new() };
        lines.push(line("dividend", format!("{claimable} to claim, {claimed} claimed{stand}")));
    }
    for open in document["unconfirmed"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        lines.push(line("unconfirmed", format!("{open} (ask for it again, and it is sent again)")));
    }
    lines.join("\n")
}
