//! README.md of the examples names what is there, and README.md of the repository names it.

use std::fs;

use crate::world::file;

#[test]
fn every_example_is_told() {
    let text = fs::read_to_string(file("examples/README.md")).unwrap();
    for entry in fs::read_dir(file("examples")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            assert!(
                text.contains(&format!("[`{name}/`]({name}")),
                "{name} is not told"
            );
        }
    }
    let links = text.split("](").skip(1);
    for link in links.map(|rest| rest.split(')').next().unwrap()) {
        assert!(file("examples").join(link).exists(), "{link} is not there");
    }
    let front = fs::read_to_string(file("README.md")).unwrap();
    assert!(
        front.contains("(examples/README.md)"),
        "README.md has no link"
    );
}
