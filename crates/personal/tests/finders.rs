//! What the default finder says about texts as they occur.

#![allow(clippy::unwrap_used)]

use personal::{Action, FinderConfig, Key, Kind, PersonalError, PolicyConfig, reveal};

/// The kinds and values that the default finder finds.
fn found(text: &str) -> Vec<(Kind, &str)> {
    let findings = FinderConfig::default().plan().unwrap().find(text);
    findings.iter().map(|found| (found.kind, &text[found.start..found.end])).collect()
}

fn only(text: &str, kind: Kind, value: &str) {
    assert_eq!(found(text), [(kind, value)], "{text}");
}

fn nothing(text: &str) {
    assert_eq!(found(text), [], "{text}");
}

#[test]
fn chinese_numbers() {
    only("身份证号码11010519491231002X。", Kind::CnResidentId, "11010519491231002X");
    nothing("编号110105194912310020。");
    only("证件号：110105491231002", Kind::CnResidentId, "110105491231002");
    only("统一社会信用代码：91350100M000100Y43", Kind::CnCreditCode, "91350100M000100Y43");
    nothing("统一社会信用代码：91350100M000100Y44");
    only("护照号码E12345678", Kind::CnPassport, "E12345678");
    only("港澳通行证：C12345678", Kind::CnHkMacauPermit, "C12345678");
    only("银行卡号6222021001116245702", Kind::CnBankCard, "6222021001116245702");
    only("车牌号京A12345的车主", Kind::CnVehicleRegistration, "京A12345");
    only("香港身份证A123456(3)", Kind::HkId, "A123456(3)");
}

#[test]
fn chinese_phones_names_and_addresses() {
    only("请拨打13800138000联系", Kind::Phone, "13800138000");
    only("手机：138-0013-8000", Kind::Phone, "138-0013-8000");
    only("座机010-62345678", Kind::Phone, "010-62345678");
    only("电话(021)62345678转2", Kind::Phone, "(021)62345678");
    only("热线400-810-8888", Kind::Phone, "400-810-8888");
    only("姓名：王小明，男", Kind::Person, "王小明");
    only("请联系张伟先生。", Kind::Person, "张伟");
    only("我叫欧阳娜娜。", Kind::Person, "欧阳娜娜");
    only("我住在北京市朝阳区建国路88号3单元501室。", Kind::Address, "北京市朝阳区建国路88号3单元501室");
    only("生日是1990年1月2日", Kind::DateOfBirth, "1990年1月2日");
}

#[test]
fn phones_of_other_countries() {
    let numbers = [
        "+44 20 7946 0958",
        "+1 (415) 555-0132",
        "(415) 555-0132",
        "415-555-0132",
        "07700 900123",
        "020 7946 0958",
        "01 42 68 53 00",
        "090-1234-5678",
        "010-1234-5678",
        "+49 30 901820",
        "0049 30 901820",
        "+65 6123 4567",
        "1-800-555-0199",
        "0412 345 678",
        "8 (912) 345-67-89",
    ];
    for number in numbers {
        only(&format!("It is {number}, as before."), Kind::Phone, number);
    }
    only("call 555-0199", Kind::Phone, "555-0199");
    for figure in [
        "2005-12-27",
        "27/12/2005",
        "1914-1918",
        "3.14159265",
        "1 234 567",
        "10,000,000",
        "2005",
        "12345678",
        "ISBN 0197222749",
        "CVE-2024-47410",
    ] {
        nothing(&format!("It was {figure} then."));
    }
}

#[test]
fn networks() {
    only("write to a.b+c@mail.example.co.uk.", Kind::Email, "a.b+c@mail.example.co.uk");
    only("邮箱zhang@qq.com请查收", Kind::Email, "zhang@qq.com");
    only("from 66.102.7.104 port", Kind::IpAddress, "66.102.7.104");
    only("ip 8.8.8.8", Kind::IpAddress, "8.8.8.8");
    nothing("§ 8.8.8.8");
    nothing("192.168.1.1, 10.0.0.1, 127.0.0.1 and 203.0.113.9");
    nothing("upgrade to 3.20.14.1");
    only("to 2400:c401::5054:ff:fe1b:b031 over", Kind::IpAddress, "2400:c401::5054:ff:fe1b:b031");
    nothing("std::cout at 12:34:56 a::b");
    only("ether 48:2a:e3:4c:b1:d1 txqueuelen", Kind::MacAddress, "48:2a:e3:4c:b1:d1");
}

#[test]
fn secrets() {
    let tokens = [
        "AKIAQYLPMN5HNT4IOFRA",
        "ghp_x7dF9aKq2LmN8pRs4TuV6wXy0ZbC1dE3fGhI",
        "glpat-x7dF9aKq2LmN8pRs4TuV",
        "xoxb-123456789012-1234567890123-a1B2c3D4e5F6g7H8i9J0k1L2",
        "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
        "AIzaSyD4kV9mLq2xR7tW1bN8cE5fG0hJ3pQ6uZs",
        "npm_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
        "hf_aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH",
        "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",
    ];
    for token in tokens {
        only(&format!("key {token} here"), Kind::ApiKey, token);
    }
    let jwt =
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U";
    only(&format!("Bearer {jwt}"), Kind::JsonWebToken, jwt);
    let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA7x\n-----END RSA PRIVATE KEY-----";
    only(&format!("{pem}\n"), Kind::PrivateKey, pem);
    only("postgres://app:s3cr3t-Pw@db/x", Kind::ConnectionString, "s3cr3t-Pw");
    only("password = \"Tr0ub4dor&3\"", Kind::Password, "Tr0ub4dor&3");
    only("密码是Abc12345!", Kind::Password, "Abc12345");
    only("client_secret: 8f4k2Lq9Zx7Vb3Nm1Pw5", Kind::Password, "8f4k2Lq9Zx7Vb3Nm1Pw5");
    for code in [
        "password = getPassword(user1)",
        "password: ${DB_PASSWORD1}",
        "token = tokenizer.next_token",
        "password=********",
        "The secret is 42.",
        "secret: changeme123",
    ] {
        nothing(code);
    }
}

#[test]
fn identity_numbers_need_a_check_or_context() {
    only("My SSN is 078051123.", Kind::UsSsn, "078051123");
    nothing("Order 078051123 shipped");
    only("passport A12803456", Kind::UsPassport, "A12803456");
    nothing("part A12803456 fits");
    only("IBAN GB82 WEST 1234 5698 7654 32.", Kind::Iban, "GB82 WEST 1234 5698 7654 32");
    only("pay 4111 1111 1111 1111 now", Kind::CreditCard, "4111 1111 1111 1111");
    nothing("pay 4111 1111 1111 1112 now");
    nothing("commit 43016715e and 9559349c");
}

#[test]
fn policies() {
    let finder = FinderConfig::default().plan().unwrap();
    let text = "ann@acme.com, bob@acme.com, ann@acme.com";
    let clean = |action: Action| {
        let key = Key::new(&[7; 32]).unwrap();
        PolicyConfig { action, ..PolicyConfig::default() }.plan(Some(key)).unwrap().clean(&finder, text)
    };
    assert_eq!(clean(Action::Redact).text, "[EMAIL], [EMAIL], [EMAIL]");
    assert_eq!(clean(Action::RedactNumbered).text, "<EMAIL_1>, <EMAIL_2>, <EMAIL_1>");
    let pseudonyms = clean(Action::Pseudonym).text;
    let parts: Vec<&str> = pseudonyms.split(", ").collect();
    assert!(parts[0] == parts[2] && parts[0] != parts[1]);
    assert_eq!(reveal(&pseudonyms, &Key::new(&[7; 32]).unwrap()), text);
    let hashes = clean(Action::Hash).text;
    let parts: Vec<&str> = hashes.split(", ").collect();
    assert!(parts[0] == parts[2] && parts[0] != parts[1] && parts[0].starts_with("<EMAIL#"));
    let dropped = clean(Action::Drop);
    assert_eq!((dropped.drop, dropped.text.as_str()), (Some(Kind::Email), text));
    let reported = clean(Action::Report);
    assert_eq!((reported.text.as_str(), reported.replaced.len()), (text, 3));
    assert_eq!(reported.replaced[0].masked, "xxx@xxxx.xxx");
    let ledger = serde_json::to_string(&reported.replaced).unwrap();
    assert!(!ledger.contains("ann") && !ledger.contains("acme"));
}

#[test]
fn configurations_are_checked() {
    let config: FinderConfig =
        serde_json::from_str(r#"{"also": ["URL"], "except": ["PERSON"], "allow": ["info@acme.com"]}"#).unwrap();
    let finder = config.plan().unwrap();
    assert!(finder.kinds().contains(Kind::Url) && !finder.kinds().contains(Kind::Person));
    assert!(finder.find("info@acme.com").is_empty());
    assert!(serde_json::from_str::<FinderConfig>(r#"{"kinds": ["NOTHING"]}"#).is_err());
    assert!(matches!(FinderConfig { score_min: f32::NAN, ..config }.plan(), Err(PersonalError::Threshold { .. })));
    let policy: PolicyConfig =
        serde_json::from_str(r#"{"action": "redact", "kinds": {"PHONE": "pseudonym"}}"#).unwrap();
    assert!(matches!(policy.plan(None), Err(PersonalError::KeyMissing { .. })));
    assert!(matches!(Key::new(b"short"), Err(PersonalError::KeyShort { .. })));
}
