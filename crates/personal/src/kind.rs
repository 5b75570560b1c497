//! The kinds of personal data and secrets, their names, and sets of them.
//!
//! Names follow Presidio's entity types where it has one (presidio-analyzer 2.2, MIT), so that its
//! users find theirs again.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::PersonalError;

/// What a kind belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// A person: name, birth, address.
    Person,
    /// A way to reach someone.
    Contact,
    /// An address in a network.
    Network,
    /// Accounts, cards, wallets.
    Money,
    /// A number that a state or an institution gave to a person, vehicle or company.
    Identity,
    /// Keys, tokens, passwords.
    Secret,
}

macro_rules! kinds {
    ($($family:ident $on:literal: $($variant:ident $name:literal $doc:literal),+;)+) => {
        /// A kind of personal data or secret.
        ///
        /// The order breaks ties between findings at the same place: the earlier one wins.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Kind { $($(#[doc = $doc] $variant,)+)+ }

        impl Kind {
            /// Every kind, in the order that breaks ties.
            pub const ALL: &'static [Kind] = &[$($(Kind::$variant,)+)+];

            /// The name in placeholders, policies and reports, in upper case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $($(Kind::$variant => $name,)+)+ }
            }

            /// What it belongs to.
            #[must_use]
            pub const fn family(self) -> Family {
                match self { $($(Kind::$variant => Family::$family,)+)+ }
            }

            /// True if it is looked for unless a configuration says otherwise.
            #[must_use]
            pub const fn is_default(self) -> bool {
                match self { $($(Kind::$variant => $on,)+)+ }
            }
        }
    };
}

kinds! {
    Secret true:
        PrivateKey "PRIVATE_KEY" "A private key in PEM armour (PKCS, OpenSSH, PGP) or age's form.",
        JsonWebToken "JWT" "A JSON web token with a readable header.",
        ApiKey "API_KEY" "A key or token of a known service, by its prefix; the rule names the service.",
        ConnectionString "CONNECTION_STRING" "The password in a URL of the form `scheme://user:password@host`.",
        Password "SECRET" "A value of high entropy beside a word such as password, secret, token, 密码.";
    Contact true:
        Email "EMAIL" "An e-mail address.";
    Money true:
        Iban "IBAN" "An international bank account number (ISO 13616).",
        CnBankCard "CN_BANK_CARD" "A Chinese bank card (UnionPay, prefix 62 and others), 16 to 19 digits, Luhn.",
        CreditCard "CREDIT_CARD" "A payment card: issuer prefix, length, Luhn.",
        Crypto "CRYPTO" "A Bitcoin (base58check, bech32, bech32m), Litecoin, Dogecoin, Tron or Ethereum address.";
    Identity true:
        CnResidentId "CN_RESIDENT_ID" "A Chinese resident identity number (GB 11643): 18 characters or the old 15 digits.",
        CnCreditCode "CN_CREDIT_CODE" "A Chinese unified social credit code (GB 32100).",
        CnPassport "CN_PASSPORT" "A Chinese passport number.",
        CnHkMacauPermit "CN_HK_MACAU_PERMIT" "A mainland travel permit for Hong Kong and Macau residents, or the permit to go there.",
        CnTaiwanPermit "CN_TAIWAN_PERMIT" "A mainland travel permit for Taiwan residents, or the permit to go there.",
        CnVehicleRegistration "CN_VEHICLE_REGISTRATION" "A Chinese number plate.",
        HkId "HK_ID" "A Hong Kong identity card number, with its check character.",
        TwId "TW_ID" "A Taiwanese national identity number, with its check digit.",
        UsSsn "US_SSN" "A United States social security number.",
        UsItin "US_ITIN" "A United States individual taxpayer identification number.",
        UkNino "UK_NINO" "A British national insurance number.",
        UkNhs "UK_NHS" "A British health service number.",
        UkDrivingLicence "UK_DRIVING_LICENCE" "A British driving licence number.",
        UsMbi "US_MBI" "A Medicare beneficiary identifier.",
        InAadhaar "IN_AADHAAR" "An Indian Aadhaar number.",
        InGstin "IN_GSTIN" "An Indian goods and services tax number.",
        InPan "IN_PAN" "An Indian permanent account number.",
        ItFiscalCode "IT_FISCAL_CODE" "An Italian fiscal code.",
        EsNie "ES_NIE" "A Spanish foreigner's identity number.",
        EsNif "ES_NIF" "A Spanish tax identity number (DNI).",
        FiPersonalIdentityCode "FI_PERSONAL_IDENTITY_CODE" "A Finnish personal identity code.",
        SePersonnummer "SE_PERSONNUMMER" "A Swedish personal identity number.",
        SeOrganisationsnummer "SE_ORGANISATIONSNUMMER" "A Swedish company number.",
        KrRrn "KR_RRN" "A Korean resident registration number.",
        KrFrn "KR_FRN" "A Korean foreigner registration number.",
        KrBrn "KR_BRN" "A Korean business registration number.",
        KrDriverLicense "KR_DRIVER_LICENSE" "A Korean driving licence number.",
        KrPassport "KR_PASSPORT" "A Korean passport number.",
        SgNricFin "SG_NRIC_FIN" "A Singaporean identity card number.",
        SgUen "SG_UEN" "A Singaporean entity number.",
        ThTnin "TH_TNIN" "A Thai national identity number.",
        TrNationalId "TR_NATIONAL_ID" "A Turkish identity number.",
        ZaIdNumber "ZA_ID_NUMBER" "A South African identity number.",
        PlPesel "PL_PESEL" "A Polish PESEL number.",
        DeTaxId "DE_TAX_ID" "A German tax identification number.",
        DeVatId "DE_VAT_ID" "A German value added tax number.",
        DeSocialSecurity "DE_SOCIAL_SECURITY" "A German pension insurance number.",
        DeHealthInsurance "DE_HEALTH_INSURANCE" "A German health insurance number.",
        DePassport "DE_PASSPORT" "A German passport number.",
        DeIdCard "DE_ID_CARD" "A German identity card number.",
        DeFuehrerschein "DE_FUEHRERSCHEIN" "A German driving licence number.",
        DeHandelsregister "DE_HANDELSREGISTER" "An entry of the German commercial register.",
        DeTaxNumber "DE_TAX_NUMBER" "A German tax number.",
        DeLanr "DE_LANR" "A German physician's number.",
        DeBsnr "DE_BSNR" "A German medical practice's number.",
        DeKfz "DE_KFZ" "A German number plate.",
        AuAbn "AU_ABN" "An Australian business number.",
        AuAcn "AU_ACN" "An Australian company number.",
        AuMedicare "AU_MEDICARE" "An Australian Medicare number.",
        AuTfn "AU_TFN" "An Australian tax file number.",
        CaSin "CA_SIN" "A Canadian social insurance number.",
        ItVatCode "IT_VAT_CODE" "An Italian value added tax number.",
        ItDriverLicense "IT_DRIVER_LICENSE" "An Italian driving licence number.",
        ItIdentityCard "IT_IDENTITY_CARD" "An Italian identity card number.",
        ItPassport "IT_PASSPORT" "An Italian passport number.",
        UsNpi "US_NPI" "A United States health provider's number.",
        MedicalLicense "MEDICAL_LICENSE" "A United States DEA certificate number.",
        UsPassport "US_PASSPORT" "A United States passport number.",
        UkPassport "UK_PASSPORT" "A British passport number.",
        EsPassport "ES_PASSPORT" "A Spanish passport number.",
        InPassport "IN_PASSPORT" "An Indian passport number.",
        InVoter "IN_VOTER" "An Indian voter's card number.",
        InVehicleRegistration "IN_VEHICLE_REGISTRATION" "An Indian number plate.",
        UkVehicleRegistration "UK_VEHICLE_REGISTRATION" "A British number plate.",
        NgVehicleRegistration "NG_VEHICLE_REGISTRATION" "A Nigerian number plate.",
        TrLicensePlate "TR_LICENSE_PLATE" "A Turkish number plate.",
        NgNin "NG_NIN" "A Nigerian identity number.",
        PhTin "PH_TIN" "A Philippine taxpayer number.",
        PhUmid "PH_UMID" "A Philippine unified multi-purpose identity number.",
        BrCpf "BR_CPF" "A Brazilian CPF number.",
        FrNir "FR_NIR" "A French social security number.",
        NlBsn "NL_BSN" "A Dutch citizen service number.";
    Money true:
        AbaRouting "ABA_ROUTING_NUMBER" "A United States bank's routing number.",
        UsBankNumber "US_BANK_NUMBER" "A United States bank account number.";
    Identity true:
        UsDriverLicense "US_DRIVER_LICENSE" "A United States driving licence number.";
    Network true:
        MacAddress "MAC_ADDRESS" "A hardware address.",
        IpAddress "IP_ADDRESS" "An IPv4 or IPv6 address or network.";
    Contact true:
        Phone "PHONE" "A telephone number.",
        TrPhone "TR_PHONE_NUMBER" "A Turkish telephone number in national form.",
        PhMobile "PH_MOBILE_NUMBER" "A Philippine mobile number.";
    Person true:
        DateOfBirth "DATE_OF_BIRTH" "A full date beside words of birth.",
        Address "ADDRESS" "A postal address.",
        Person "PERSON" "A person's name, where a title, a greeting or a label shows it.";
    Person false:
        UkPostcode "UK_POSTCODE" "A British postcode.",
        CaPostalCode "CA_POSTAL_CODE" "A Canadian postal code.",
        DePlz "DE_PLZ" "A German postcode.",
        DateTime "DATE_TIME" "A date or time in figures.",
        Coordinates "COORDINATES" "A pair of latitude and longitude in decimal degrees.";
    Contact false:
        Url "URL" "A web address.";
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = PersonalError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|kind| kind.name().eq_ignore_ascii_case(name));
        found.copied().ok_or_else(|| PersonalError::UnknownKind { name: name.to_owned() })
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KindSet(u128);

// Each kind is one bit.
const _: () = assert!(Kind::ALL.len() <= 128);

impl KindSet {
    /// No kind.
    pub const EMPTY: Self = Self(0);

    /// Every kind.
    #[must_use]
    pub fn all() -> Self {
        Kind::ALL.iter().copied().collect()
    }

    /// The kinds that are looked for by default.
    #[must_use]
    pub fn defaults() -> Self {
        Kind::ALL.iter().copied().filter(|kind| kind.is_default()).collect()
    }

    /// The set with one kind more.
    #[must_use]
    pub const fn with(self, kind: Kind) -> Self {
        Self(self.0 | 1 << kind as u8)
    }

    /// The set with one kind less.
    #[must_use]
    pub const fn without(self, kind: Kind) -> Self {
        Self(self.0 & !(1 << kind as u8))
    }

    /// True if the kind is in the set.
    #[must_use]
    pub const fn contains(self, kind: Kind) -> bool {
        self.0 >> (kind as u8) & 1 == 1
    }

    /// The kinds of both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True if no kind is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Kind> for KindSet {
    fn from_iter<T: IntoIterator<Item = Kind>>(kinds: T) -> Self {
        kinds.into_iter().fold(Self::EMPTY, Self::with)
    }
}
