use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;

fn list(text: &str) -> AllowList {
    AllowList::parse_setting(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn host(text: &str) -> Host {
    Host::parse(text).unwrap_or_else(|| panic!("{text} is no host"))
}

fn instance(text: &str) -> InstanceEgress {
    InstanceEgress {
        mode: Mode::List,
        list: list(text),
    }
}

#[test]
fn a_list_permits_what_it_says_and_nothing_else() {
    let list = list("*.npmjs.org, pypi.org:443, plain.example, 10.0.0.0/8:8080, [fd00::1]:*, npm");
    let cases = [
        ("registry.npmjs.org", 443, true),
        ("A.B.NPMJS.ORG.", 80, true),
        ("npmjs.org", 443, false),
        ("evilnpmjs.org", 443, false),
        ("npmjs.org.evil.example", 443, false),
        ("registry.npmjs.org", 22, false),
        ("pypi.org", 443, true),
        ("pypi.org", 80, false),
        ("plain.example", 80, true),
        ("plain.example", 443, true),
        ("plain.example", 8080, false),
        ("10.1.2.3", 8080, true),
        ("10.1.2.3", 443, false),
        ("11.1.2.3", 8080, false),
        ("::ffff:10.1.2.3", 8080, true),
        ("fd00::1", 1, true),
        ("[fd00::1]", 65535, true),
        ("fd00::2", 1, false),
    ];
    for (name, port, expected) in cases {
        assert_eq!(list.permits(&host(name), port), expected, "{name}:{port}");
    }
}

#[test]
fn everything_is_every_name_and_every_public_address() {
    let list = list("*:*");
    for (name, expected) in [
        ("any.example", true),
        ("8.8.8.8", true),
        ("2606:4700::1111", true),
        ("127.0.0.1", false),
        ("169.254.169.254", false),
    ] {
        assert_eq!(list.permits(&host(name), 22), expected, "{name}");
    }
}

#[test]
fn what_is_no_host_is_refused() {
    for text in [
        "",
        "a b",
        "a..b",
        "-",
        "*",
        "x/y",
        "a:b",
        "127.1",
        "2130706433",
        "0x7f.1",
        "1.2.3.0x4",
        "[127.0.0.1",
        "[name]",
        "ä.example",
        "a\0b",
        "300.1.1.1",
    ] {
        let found = Host::parse(text);
        assert!(
            found.is_none() || matches!(text, "-"),
            "{text:?} is {found:?}"
        );
    }
    for text in [
        "a:0",
        "a:65536",
        "a:+1",
        "*.*.x",
        "x*",
        "10.0.0.0/33",
        "10.0.0.0/x",
        "a:b:c",
        "[::1",
        "::ffff:10.0.0.0/100",
    ] {
        assert!(AllowList::parse_setting(text).is_err(), "{text}");
    }
}

#[test]
fn special_addresses_are_not_public_however_they_are_written() {
    for text in [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a00:1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "2001:0:1::1",
        "2001:db8::1",
        "fe80::1",
        "fec0::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "100::1",
        "4000::1",
    ] {
        let ip: IpAddr = text.parse().unwrap();
        assert!(!is_public(ip), "{text}");
    }
    for text in [
        "1.1.1.1",
        "172.32.0.1",
        "192.0.1.1",
        "2606:4700::1111",
        "64:ff9b::808:808",
    ] {
        assert!(is_public(text.parse().unwrap()), "{text}");
    }
}

#[test]
fn a_session_can_only_be_narrower() {
    let own = |word, allow: &[&str]| {
        let allow: Vec<String> = allow.iter().map(|&text| text.to_owned()).collect();
        instance("*.npmjs.org, pypi.org, 10.0.0.0/8:*").narrow(word, Some(&allow))
    };
    for allow in [
        &["registry.npmjs.org"][..],
        &["*.registry.npmjs.org:443"],
        &["pypi.org:80", "10.1.0.0/16:5432"],
        &[],
    ] {
        assert!(own(None, allow).is_ok(), "{allow:?}");
        assert!(own(Some(Word::List), allow).is_ok(), "{allow:?}");
    }
    for allow in [
        &["npmjs.org"][..],
        &["*"],
        &["*.org"],
        &["pypi.org:22"],
        &["pypi.org:*"],
        &["0.0.0.0/0"],
        &["pypi"],
    ] {
        let refused = own(None, allow).unwrap_err();
        assert_eq!(refused.field, "egress_allow", "{allow:?}: {refused}");
    }
    let open = InstanceEgress::default();
    assert_eq!(
        open.narrow(Some(Word::None), None).unwrap_err().field,
        "egress"
    );
    assert_eq!(open.narrow(None, None), Ok(None));
    let none = InstanceEgress {
        mode: Mode::None,
        ..InstanceEgress::default()
    };
    assert_eq!(
        none.narrow(Some(Word::List), None).unwrap_err().field,
        "egress"
    );
    assert_eq!(
        none.narrow(Some(Word::None), None),
        Ok(Some(SessionEgress::None))
    );
    assert_eq!(
        instance("*")
            .narrow(Some(Word::Open), None)
            .unwrap_err()
            .field,
        "egress"
    );
}

#[test]
fn a_mode_of_none_permits_nothing() {
    let listed = instance("*:*");
    let target = host("a.example");
    assert!(listed.permits(&SessionEgress::AsInstance, &target, 443));
    assert!(!listed.permits(&SessionEgress::None, &target, 443));
    assert!(!listed.permits(&SessionEgress::List(AllowList::default()), &target, 443));
    for mode in [Mode::None, Mode::Open] {
        let instance = InstanceEgress {
            mode,
            ..listed.clone()
        };
        assert!(!instance.permits(&SessionEgress::AsInstance, &target, 443));
    }
}

fn labels() -> impl Strategy<Value = String> {
    proptest::collection::vec("[ab]{1,2}", 1..4).prop_map(|labels| labels.join("."))
}

fn entries() -> impl Strategy<Value = String> {
    let hosts = prop_oneof![
        Just("*".to_owned()),
        labels(),
        labels().prop_map(|name| format!("*.{name}")),
        (0_u8..4, 0_u8..4, 0_u8..=32).prop_map(|(a, b, prefix)| format!("{a}.{b}.0.0/{prefix}")),
        (0_u16..4, 0_u8..=128).prop_map(|(a, prefix)| format!("[2600:{a:x}::/{prefix}]")),
    ];
    let ports = prop_oneof![
        Just(String::new()),
        Just(":*".to_owned()),
        Just(":443".to_owned()),
        Just(":22".to_owned()),
    ];
    (hosts, ports).prop_map(|(host, ports)| host + &ports)
}

fn targets() -> impl Strategy<Value = (Host, u16)> {
    let hosts = prop_oneof![
        labels().prop_map(Host::Name),
        (0_u8..4, 0_u8..4).prop_map(|(a, b)| Host::Address(Ipv4Addr::new(a, b, 0, 1).into())),
        (0_u16..4).prop_map(|a| Host::Address(format!("2600:{a:x}::1").parse().unwrap())),
    ];
    (hosts, prop_oneof![Just(443_u16), Just(80), Just(22)])
}

proptest! {
    #[test]
    fn nothing_that_is_parsed_panics(text in "\\PC{0,40}") {
        let _ = (AllowList::parse_setting(&text).is_ok(), Host::parse(&text));
    }

    #[test]
    fn an_entry_is_written_as_it_is_read(text in entries()) {
        let first = AllowList::parse_setting(&text).unwrap();
        let again = AllowList::parse(first.entries().iter().map(String::as_str)).unwrap();
        prop_assert_eq!(first, again);
    }

    /// What a session was given because it is within the instance's list never reaches further than that.
    #[test]
    fn a_narrower_list_permits_nothing_more(
        ours in proptest::collection::vec(entries(), 0..5),
        theirs in proptest::collection::vec(entries(), 0..5),
        (host, port) in targets(),
    ) {
        let wide = AllowList::parse(ours.iter().map(String::as_str)).unwrap();
        let narrow = AllowList::parse(theirs.iter().map(String::as_str)).unwrap();
        if narrow.first_beyond(&wide).is_none() && narrow.permits(&host, port) {
            prop_assert!(wide.permits(&host, port), "{:?} {:?}", wide, narrow);
        }
    }

    /// An address of IPv4 is no more public inside of one of IPv6.
    #[test]
    fn an_embedded_address_is_judged_as_what_it_embeds(bits: u32) {
        let v4 = Ipv4Addr::from_bits(bits);
        let [high, low] = [bits >> 16, bits & 0xffff];
        let forms = [
            v4.to_ipv6_mapped(),
            format!("64:ff9b::{high:x}:{low:x}").parse().unwrap(),
            format!("2002:{high:x}:{low:x}::1").parse().unwrap(),
        ];
        for form in forms {
            prop_assert_eq!(is_public(form.into()), is_public(v4.into()), "{}", form);
        }
    }
}
