//! Names of people where a title, a greeting, a label or a closing shows them.
//!
//! A pattern cannot know a name that stands bare in a sentence; that takes a model, and none is here.

use crate::bytes::word_before;
use crate::finding::Finding;
use crate::kind::Kind;
use crate::scan::Scan;

/// What an anchor says about where the name stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    /// `Mr`: the name follows, after a full stop and a space.
    Title,
    /// `Dear`: a name follows, unless it is one of the words of a form letter.
    Greeting,
    /// `my name is`, `Name:`.
    Label,
    /// `Regards,`: the name is the next line.
    Closing,
    /// `先生`: the name ends here.
    ChineseTitle,
    /// `姓名`: the name follows a colon.
    ChineseLabel,
    /// `我叫`: the name follows.
    ChineseVerb,
}

/// The anchors.
#[rustfmt::skip]
pub(crate) const ANCHORS: &[(Anchor, &[&str])] = &[
    (Anchor::Title, &["Mr.", "Mr ", "Mrs.", "Mrs ", "Ms.", "Ms ", "Miss ", "Dr.", "Dr ", "Prof.", "Prof ", "Professor ", "Mme ", "Mme.", "Mlle ", "Herr ", "Frau ", "Señor ", "Señora ", "Sra.", "Sr.", "Madame ", "Monsieur ", "mr.", "mrs.", "ms.", "dr."]),
    (Anchor::Greeting, &["Dear ", "Hi ", "Hello ", "Hey ", "Bonjour ", "Hallo ", "Hola "]),
    (Anchor::Label, &["name is ", "Name is ", "Name: ", "name: ", "NAME: ", "named ", "I am called ", "call me ", "Call me ", "signed by ", "Signed by ", "Contact: ", "Attn: ", "ATTN: ", "Patient: ", "Customer: ", "Employee: ", "Author: "]),
    (Anchor::Closing, &["egards,", "incerely,", "incerely yours,", "ruly yours,", "ruly,", "aithfully,", "Cheers,", "Thanks,", "Best wishes,", "Best,"]),
    (Anchor::ChineseTitle, &["先生", "女士", "小姐", "老师", "教授", "医生", "同学", "经理", "主任", "律师", "老師", "醫生", "經理", "同志"]),
    (Anchor::ChineseLabel, &["姓名", "联系人", "收件人", "收货人", "寄件人", "负责人", "法定代表人", "客户", "患者", "户名", "持卡人", "申请人", "聯絡人", "投保人", "被保险人"]),
    (Anchor::ChineseVerb, &["我叫", "名叫", "名字是", "名字叫", "我的名字是", "本人叫"]),
];

/// Common Chinese surnames of one character, simplified and traditional.
const SURNAMES: &str = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许韩邓冯曹彭曾肖田董潘袁蔡蒋余于杜叶程魏苏吕丁任卢姚沈钟姜崔谭陆范汪廖石金韦贾夏付方邹熊白孟秦邱侯江尹薛闫段雷龙黎史陶贺毛郝顾龚邵万覃武钱戴严莫孔向常汤康易乔牛庞樊葛邢岳齐梅庄伍辛管祝左涂谷祁时舒耿牟卜路詹关苗凌费纪靳盛童欧甄项曲成游阳裴席卫查屈鲍位覃霍翁隋植甘景薄单包司柏宁柯阮桂闵解强柴华车冉房边辜吉饶刁瞿戚丘古米池滕晋苑邬臧畅宫来嵺苟全褚廉简娄盖符奚木穆党燕郎邸冀谈姬屠连郜晏栾郁商蒙计喻揭窦迟宇敖糜鄢冷卓花仇艾蓝都巩稽井练仲乐虞卞封竺冼原官衣楚佟栗匡宗应台巫鞠僧桑荆谌银扬明沙薄伏岑习胥保和蔺張劉陳楊黃趙吳孫馬羅鄭謝許韓鄧馮蕭葉蘇呂盧鍾譚陸範賈鄒閻龍賀顧龔萬錢嚴湯喬龐齊莊";

/// Surnames of two characters.
const COMPOUND_SURNAMES: [&str; 16] = [
    "欧阳", "司马", "上官", "诸葛", "东方", "夏侯", "皇甫", "尉迟", "公孙", "慕容", "令狐", "司徒", "长孙", "端木",
    "歐陽", "司馬",
];

/// Words that follow greetings, titles and labels without being names.
const NOT_NAMES: &[&[u8]] = &[
    b"Sir",
    b"Sirs",
    b"Madam",
    b"All",
    b"Friend",
    b"Friends",
    b"Customer",
    b"Customers",
    b"Team",
    b"Colleague",
    b"Colleagues",
    b"Editor",
    b"Diary",
    b"God",
    b"Lord",
    b"Mr",
    b"Mrs",
    b"Ms",
    b"Miss",
    b"Dr",
    b"Prof",
    b"Professor",
    b"Hiring",
    b"Valued",
    b"Reader",
    b"Readers",
    b"Member",
    b"Members",
    b"User",
    b"Users",
    b"Everyone",
    b"The",
    b"This",
    b"That",
    b"I",
    b"We",
    b"You",
    b"He",
    b"She",
    b"It",
    b"They",
    b"My",
    b"Your",
    b"Our",
    b"There",
    b"And",
    b"Or",
    b"Of",
    b"In",
    b"For",
    b"To",
    b"Is",
    b"Are",
    b"Was",
    b"Not",
    b"No",
    b"Yes",
    b"World",
    b"Kitty",
    b"Please",
    b"Thanks",
    b"Thank",
    b"A",
    b"An",
    b"What",
    b"How",
    b"Why",
    b"When",
    b"Where",
    b"Who",
    b"Can",
    b"Could",
    b"Would",
    b"Do",
    b"Does",
    b"Mom",
    b"Dad",
    b"Mother",
    b"Father",
    b"President",
    b"Santa",
    b"Universe",
    b"Just",
];

/// Particles inside names.
const PARTICLES: &[&[u8]] = &[
    b"van", b"von", b"der", b"den", b"de", b"del", b"della", b"da", b"di", b"la", b"le", b"bin", b"ibn", b"al", b"el",
    b"dos", b"du", b"ter", b"ten", b"zu", b"y",
];

/// A name at an anchor that spans `at..after`.
pub(crate) fn person(scan: &mut Scan<'_>, anchor: Anchor, at: usize, after: usize) {
    let text = scan.text;
    let found = match anchor {
        Anchor::ChineseTitle => chinese_before(text, at).map(|(start, score)| (start, at, score)),
        Anchor::ChineseLabel => colon_after(text, after).and_then(|from| chinese_after(text, from, 0.75)),
        Anchor::ChineseVerb => chinese_after(text, after, 0.7),
        Anchor::Closing => next_line(text, after).and_then(|from| latin(text, from, 0.6, 2)),
        _ if word_before(text, at) => None,
        Anchor::Title => title_end(text, after).and_then(|from| latin(text, from, 0.7, 1)),
        Anchor::Greeting => {
            let name = latin(text, after, 0.6, 1);
            name.filter(|(_, end, _)| {
                matches!(text.get(*end), Some(b',' | b'!' | b'\n' | b':' | b'.' | b';')) || text[at] == b'D'
            })
        }
        Anchor::Label => latin(text, after, 0.7, 1),
    };
    if let Some((start, end, score)) = found {
        scan.note_plain(Finding { kind: Kind::Person, start, end, score, checked: false, rule: "named" });
    }
}

/// The start of the name after a title, which ends in a space or in a full stop before one.
fn title_end(text: &[u8], at: usize) -> Option<usize> {
    if text[at - 1] == b' ' {
        return Some(at);
    }
    (text.get(at) == Some(&b' ')).then_some(at + 1)
}

/// The first letter of the line after a closing, with at most two empty lines between.
fn next_line(text: &[u8], mut at: usize) -> Option<usize> {
    let mut breaks = 0;
    while let Some(byte @ (b' ' | b'\r' | b'\n')) = text.get(at) {
        breaks += usize::from(*byte == b'\n');
        at += 1;
    }
    (1..=3).contains(&breaks).then_some(at)
}

fn colon_after(text: &[u8], mut at: usize) -> Option<usize> {
    let rest = &text[at..];
    at += if rest.starts_with(b":") {
        1
    } else if rest.starts_with("：".as_bytes()) {
        3
    } else {
        return None;
    };
    while text.get(at) == Some(&b' ') {
        at += 1;
    }
    Some(at)
}

/// One to four capitalised words from `start`, of which `words_min` are needed.
fn latin(text: &[u8], start: usize, score: f32, words_min: usize) -> Option<(usize, usize, f32)> {
    let mut end = start;
    let mut at = start;
    let mut words = 0;
    while words < 4 {
        let to = word_end(text, at);
        let word = &text[at..to];
        if word.is_empty() {
            break;
        }
        if is_capital(word) && !NOT_NAMES.contains(&word) {
            words += 1;
            end = to;
            // The full stop of an initial.
            if word.len() == 1 && text.get(to) == Some(&b'.') {
                end += 1;
            }
        } else if words == 0 && !PARTICLES.contains(&word) || !PARTICLES.contains(&word) {
            break;
        }
        let next = end.max(to);
        if text.get(next) != Some(&b' ') {
            break;
        }
        at = next + 1;
    }
    let alone = end - start < 2;
    (words >= words_min && !alone).then_some((start, end, score))
}

/// The end of a word of letters, hyphens and apostrophes inside.
fn word_end(text: &[u8], at: usize) -> usize {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, 0xC3..=0xDF | 0x80..=0xBF);
    let mut end = at;
    while end < text.len() && end - at < 40 {
        let byte = text[end];
        // Letters of two bytes only: others belong to other scripts.
        if byte.is_ascii_alphabetic() {
            end += 1;
        } else if matches!(byte, 0xC3..=0xDF) {
            end += 2;
        } else if matches!(byte, b'-' | b'\'') && end > at && text.get(end + 1).is_some_and(|next| letter(*next)) {
            end += 1;
        } else {
            break;
        }
    }
    // `Smith's`
    if end - at > 2 && text[at..end].ends_with(b"'s") { end - 2 } else { end }
}

/// True for a word that begins with a capital and is no acronym of more than three letters.
fn is_capital(word: &[u8]) -> bool {
    match word {
        [first, rest @ ..] if first.is_ascii_uppercase() => rest.len() < 3 || rest.iter().any(u8::is_ascii_lowercase),
        // U+00C0 to U+00DE; Greek and Cyrillic capitals.
        [0xC3, 0x80..=0x9E, ..] | [0xCE, 0x86..=0xAB, ..] | [0xD0, 0x80..=0xAF, ..] => true,
        // Latin Extended-A alternates capital and small letters.
        [0xC4 | 0xC5, second, ..] => second % 2 == 0 || matches!((word[0], second), (0xC5, 0xBB | 0xBD)),
        _ => false,
    }
}

/// The Han character that ends before `at`, as three bytes.
fn han_before(text: &[u8], at: usize) -> Option<usize> {
    let start = at.checked_sub(3)?;
    is_han(text, start).then_some(start)
}

/// True if a Han character of three bytes stands at `at` (U+3400 to U+9FFF).
pub(crate) fn is_han(text: &[u8], at: usize) -> bool {
    match text.get(at..at + 3) {
        Some([0xE3, second, _]) => *second >= 0x90,
        Some([0xE4..=0xE9, second, _]) => matches!(second, 0x80..=0xBF),
        _ => false,
    }
}

fn is_surname(character: &[u8]) -> bool {
    SURNAMES.as_bytes().chunks_exact(3).any(|surname| surname == character)
}

/// The bytes of the surname at `at`, if one is there.
fn surname_length(text: &[u8], at: usize) -> Option<usize> {
    if COMPOUND_SURNAMES.iter().any(|surname| text[at..].starts_with(surname.as_bytes())) {
        return Some(6);
    }
    text.get(at..at + 3).filter(|character| is_surname(character)).map(|_| 3)
}

/// The name that ends at `at`, before a title: three characters, two, or the surname alone.
fn chinese_before(text: &[u8], at: usize) -> Option<(usize, f32)> {
    let one = han_before(text, at)?;
    let two = han_before(text, one);
    let three = two.and_then(|start| han_before(text, start));
    let four = three.and_then(|start| han_before(text, start));
    for (start, length) in [(four, 12), (three, 9), (two, 6), (Some(one), 3)] {
        let Some(start) = start else { continue };
        match surname_length(text, start) {
            Some(6) if length >= 6 => return Some((start, 0.7)),
            // A surname inside a word, as in 柳先生 of 五柳先生, is less sure than one at a border.
            Some(3) if length <= 9 => {
                let bordered = han_before(text, start).is_none();
                return Some((start, if bordered || length > 3 { 0.65 } else { 0.45 }));
            }
            _ => {}
        }
    }
    None
}

/// The name that starts at `from`: a surname and one or two characters, then something that is not Han, or a particle.
fn chinese_after(text: &[u8], from: usize, score: f32) -> Option<(usize, usize, f32)> {
    let surname = surname_length(text, from);
    let mut end = from;
    let mut count = 0;
    while count < 5 && is_han(text, end) {
        end += 3;
        count += 1;
    }
    match surname {
        // More Han characters follow: the given name has one or two, and two is by far the more common.
        Some(length) if count >= 5 => Some((from, (from + length + 6).min(end), score - 0.2)),
        Some(_) if count >= 2 => Some((from, end, score)),
        // After a label, other scripts and rare surnames are names too.
        None if (2..=4).contains(&count) => Some((from, end, score - 0.15)),
        None if count == 0 => latin(text, from, score - 0.1, 1),
        _ => None,
    }
}
