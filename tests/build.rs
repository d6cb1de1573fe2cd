//! Names the guests that there are, so that none of them can be without a test: see `tests/bad_plugins/main.rs`.

use std::fs;
use std::io::Result;
use std::path::PathBuf;

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed=guests/examples");
    let files = fs::read_dir("guests/examples")?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let stem = |file: &PathBuf| file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let mut names: Vec<_> = files.iter().filter_map(stem).collect();
    names.sort_unstable();
    let calls: String = names.iter().map(|name| format!("        $each!({name});\n")).collect();
    let text = format!(
        "/// Calls a macro with the name of every file in `tests/guests/examples`.\n#[macro_export]\n\
         macro_rules! for_each_guest {{\n    ($each:ident) => {{\n{calls}    }};\n}}\n"
    );
    let out = std::env::var_os("OUT_DIR").map(PathBuf::from).unwrap_or_default();
    fs::write(out.join("guests.rs"), text)
}
