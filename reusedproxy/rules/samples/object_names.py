"""Names object identifiers as OpenSSL does, and so HAProxy: its short names (crypto/objects/objects.txt)."""

from __future__ import annotations

from typing import Final

#: Attributes of names, by what their identifiers begin with: the last number, and the short name.
_ATTRIBUTES = {
    "0.9.2342.19200300.100.1": (
        "1 UID  2 textEncodedORAddress  3 mail  4 info  5 favouriteDrink  6 roomNumber  7 photo  8 userClass "
        "9 host  10 manager  11 documentIdentifier  12 documentTitle  13 documentVersion  14 documentAuthor "
        "15 documentLocation  20 homeTelephoneNumber  21 secretary  22 otherMailbox  23 lastModifiedTime "
        "24 lastModifiedBy  25 DC  26 aRecord  27 pilotAttributeType27  28 mXRecord  29 nSRecord "
        "30 sOARecord  31 cNAMERecord  37 associatedDomain  38 associatedName  39 homePostalAddress "
        "40 personalTitle  41 mobileTelephoneNumber  42 pagerTelephoneNumber  43 friendlyCountryName  44 uid "
        "45 organizationalStatus  46 janetMailbox  47 mailPreferenceOption  48 buildingName  49 dSAQuality "
        "50 singleLevelQuality  51 subtreeMinimumQuality  52 subtreeMaximumQuality  53 personalSignature "
        "54 dITRedirect  55 audio  56 documentPublisher"
    ),
    "1.2.643.3.131.1": ("1 INN"),
    "1.2.643.100": ("1 OGRN  3 SNILS  5 OGRNIP  111 subjectSignTool  112 issuerSignTool  113 classSignTool"),
    "1.2.840.113549.1.9": (
        "1 emailAddress  2 unstructuredName  3 contentType  4 messageDigest  5 signingTime "
        "6 countersignature  7 challengePassword  8 unstructuredAddress  9 extendedCertificateAttributes "
        "14 extReq  15 SMIME-CAPS  16 SMIME  20 friendlyName  21 localKeyID"
    ),
    "1.3.6.1.4.1.311.60.2.1": ("1 jurisdictionL  2 jurisdictionST  3 jurisdictionC"),
    "2.5.4": (
        "3 CN  4 SN  5 serialNumber  6 C  7 L  8 ST  9 street  10 O  11 OU  12 title  13 description "
        "14 searchGuide  15 businessCategory  16 postalAddress  17 postalCode  18 postOfficeBox "
        "19 physicalDeliveryOfficeName  20 telephoneNumber  21 telexNumber  22 teletexTerminalIdentifier "
        "23 facsimileTelephoneNumber  24 x121Address  25 internationaliSDNNumber  26 registeredAddress "
        "27 destinationIndicator  28 preferredDeliveryMethod  29 presentationAddress "
        "30 supportedApplicationContext  31 member  32 owner  33 roleOccupant  34 seeAlso  35 userPassword "
        "36 userCertificate  37 cACertificate  38 authorityRevocationList  39 certificateRevocationList "
        "40 crossCertificatePair  41 name  42 GN  43 initials  44 generationQualifier "
        "45 x500UniqueIdentifier  46 dnQualifier  47 enhancedSearchGuide  48 protocolInformation "
        "49 distinguishedName  50 uniqueMember  51 houseIdentifier  52 supportedAlgorithms "
        "53 deltaRevocationList  54 dmdName  65 pseudonym  72 role  97 organizationIdentifier  98 c3  99 n3 "
        "100 dnsName"
    ),
}
#: Algorithms of keys and signatures.
_ALGORITHMS = {
    "1.2.840.113549.1.1.1": "rsaEncryption",
    "1.2.840.113549.1.1.4": "RSA-MD5",
    "1.2.840.113549.1.1.5": "RSA-SHA1",
    "1.2.840.113549.1.1.10": "RSASSA-PSS",
    "1.2.840.113549.1.1.11": "RSA-SHA256",
    "1.2.840.113549.1.1.12": "RSA-SHA384",
    "1.2.840.113549.1.1.13": "RSA-SHA512",
    "1.2.840.113549.1.1.14": "RSA-SHA224",
    "1.2.840.10045.2.1": "id-ecPublicKey",
    "1.2.840.10045.4.1": "ecdsa-with-SHA1",
    "1.2.840.10045.4.3.1": "ecdsa-with-SHA224",
    "1.2.840.10045.4.3.2": "ecdsa-with-SHA256",
    "1.2.840.10045.4.3.3": "ecdsa-with-SHA384",
    "1.2.840.10045.4.3.4": "ecdsa-with-SHA512",
    "1.2.840.10040.4.1": "DSA",
    "1.2.840.10040.4.3": "DSA-SHA1",
    "2.16.840.1.101.3.4.3.2": "dsa_with_SHA256",
    "1.3.101.112": "ED25519",
    "1.3.101.113": "ED448",
}


def _attributes() -> dict[str, str]:
    names = {}
    for begin, said in _ATTRIBUTES.items():
        words = said.split()
        names.update({f"{begin}.{number}": name for number, name in zip(words[::2], words[1::2], strict=True)})
    return names


#: By identifier, as numbers with dots.
SHORT_NAMES: Final = {**_attributes(), **_ALGORITHMS}
