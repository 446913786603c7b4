"""A sentence or two in each of twenty languages, by their codes."""

TEXTS = {
    "ar": "ذهب الولد إلى السوق صباحًا، واشترى خبزًا وتمرًا بـ ١٢٫٥٠ دينارًا.",
    "bn": "নদীর ধারে একটি ছোট গ্রাম আছে। সেখানে বছরে ১২ মাস মেলা বসে।",
    "cs": "Příliš brzy ráno zněly z věže zvony; kůň se polekal a utekl do lesa.",
    "de": "Die Bäckerin öffnet um 6:30 Uhr – „Grüß Gott!“ –, und ihr Brot kostet 2,50 €.",
    "el": "Ο γέρος ψαράς είπε: «Αύριο θα φυσήξει βοριάς». Κανείς δεν τον πίστεψε;",
    "en": "It's the 3rd of May, and they've all-but finished; she'll pay $12.50 -- I'D say \"no\".",
    "es": "¿Dónde está el niño? ¡Ya viene! EE. UU. queda a 9.000 km de aquí.",
    "fa": "او گفت: «می‌روم و برمی‌گردم». کتاب‌ها روی میز بودند.",
    "fi": "Yöllä satoi, eikä äiti löytänyt hääyöaieuutisesta mitään uutta.",
    "fr": "L'été dernier, j'ai aperçu un « œuf » d'autruche : il pesait 1\u202f500 g !",
    "he": "הילדה קראה סֵפֶר על ירושלים, ואמרה: \"יָפֶה מאוד\".",
    "hi": "हिमालय पर बर्फ़ गिरी। क्या आप कल २५ किताबें लाएँगे?",
    "it": "Perché no? Un po' d'acqua, due caffè e... l'amica c'è già.",
    "ja": "吾輩は駅前のパン屋で、カレーパンを3個買った。「おいしい!」と言われた。",
    "ko": "어제는 비가 많이 왔습니다. 그래서 우리는 집에서 영화 두 편을 봤어요.",
    "ru": "Ёлка стоит «в углу» — 5 м высотой, а съёмка начнётся в 18:00.",
    "th": "วันนี้อากาศดีมาก เด็กๆ ไปเล่นน้ำที่แม่น้ำ ราคา ๒๐ บาท",
    "tr": "İstanbul'da ılık bir akşamdı; çocuklar şiir okuyup güldüler.",
    "vi": "Trời mưa suốt đêm, nhưng sáng nay phố cổ đã khô ráo và đông người.",
    "zh": "这让我明白了一个道理。2024年5月3日,“你好”他说:价格是12,50元!",
}
