"""Sentences in many languages, with what splits words in each: quotes, abbreviations, numbers."""

SENTENCES = {
    "de": """\
Der alte Leuchtturmwärter hatte die ganze Nacht nicht geschlafen.
„Das ist nichts“, sagte er zu Frau Dr. Müller, „nur das Meer …“
Am 3. Mai 2024 kostete ein Liter Milch 1,29 € – also ca. 0,10 € mehr als zuvor.
Wir treffen uns z. B. um 8.30 Uhr am Hauptbahnhof, Gleis 12a.
Das E-Mail-Programm der Firma läuft u.a. auf Linux- und macOS-Rechnern.
Er wohnt in der Goethestr. 17, 10115 Berlin; Tel. 030/1234567.
Wie geht's dir? – Mir geht's gut, danke!
Die Fußgängerzone ist sonn- und feiertags gesperrt (s. S. 14).
»Komm mit«, rief sie, »sonst verpassen wir den Zug!«
Der Preis stieg um 12,5 % auf 1.250.000 Euro.
Prof. Schmidt u. a. haben das i.d.R. anders gesehen, d.h. viel strenger.
Ich hab' dir's doch gesagt: Du sollst nicht so schnell fahren.
Die Straßenbahnlinie 5 fährt alle 10min, nachts nur stündlich.
Näheres unter https://www.beispiel.de/seite?nr=5 oder per E-Mail an info@beispiel.de.
Hans' Fahrrad steht vor dem Haus/Garten der Nachbarn.
Das Kind ist 3½ Jahre alt und schon 98cm groß.
Goethes „Faust“ (Teil I) erschien 1808 bzw. in Auszügen schon 1790.
Österreich, Übermut und Ärger – drei Wörter mit Umlauten.
Das 2:1 gegen den FC Bayern fiel in der 89. Minute.
Sie sagte: ‚Ich komme morgen‘, aber sie kam nie.
Im Jahr 44 v. Chr. wurde Caesar ermordet.
Die Temperatur fiel auf -5°C, gefühlt waren es -12 °C.
Ich trinke gern Kaffee/Tee, aber ohne Zucker.
Vgl. auch Abb. 3 und Tab. 7 im Anhang, S. 210ff.
Der ICE 578 (Stuttgart–Hamburg) hat +15 Minuten Verspätung.""",
    "ru": """\
Старый смотритель маяка не спал всю ночь.
«Ничего страшного, — сказал он, — это всего лишь море…»
3 мая 2024 г. литр молока стоил 89,50 руб., т.е. на 5% дороже.
Мы встретимся, напр., в 8:30 у входа в метро «Арбатская».
— Как дела? — Хорошо, спасибо!
Он живёт на ул. Ленина, д. 17, кв. 5, тел. 8-800-123-45-67.
Кто-нибудь видел мой из-за угла выехавший чёрно-белый автомобиль?
Проф. Иванов и др. считали иначе, т. к. данных было мало.
Температура упала до -25°C, а ветер усилился до 15м/с.
Подробнее см. на https://www.primer.ru/stranica?id=5 или пишите на info@primer.ru.
В XIX в. население города составляло ок. 120 тыс. человек.
Ёлка стояла в углу, и дети пели: «В лесу родилась ёлочка».
Она прошептала: „Не уходи“, но он ушёл.
Цена выросла с 1 250 до 1 500 000 рублей (почти в 1200 раз!).
Поезд №5 Москва–Казань опаздывает на 2ч.
Т.н. «тихий час» длился с 14:00 до 16:00.
А.С. Пушкин родился в 1799 году, М. Ю. Лермонтов — в 1814-м.
Что-то пошло не так, и всё-таки мы справились.
Дождь лил как из ведра; улицы опустели.
В книге 350 стр., из них 12 с иллюстрациями.
Пить кофе и/или чай можно на кухне.
Матч закончился со счётом 2:1 в нашу пользу.
Он весил 75кг при росте 180см.
Юг, север, запад и восток — четыре стороны света.
Это было в 44 г. до н.э., во время мартовских ид.""",
    "zh": """\
老灯塔看守人整夜没有睡觉。
“没什么，”他对奥尼尔太太说，“只是海浪而已……”
2024年5月3日，牛奶的价格是12.50元，上涨了5%。
这让我明白了一个道理：坚持就是胜利！
我们八点半在火车站见面，好吗？
他住在北京市朝阳区建国路88号，电话010-12345678。
《红楼梦》是中国四大名著之一。
她用iPhone拍了3张照片，发到了微信群里。
气温下降到零下5°C，大家都穿上了羽绒服。
详情请见https://www.example.cn/page?id=5，或发邮件至info@example.cn。
「你好」，他说，「很高兴认识你」。
GPT-1是OpenAI在2018年发布的语言模型。
这部电影太精彩了，我看了三遍还想再看。
服务员的态度很差，饭菜也不好吃。
小明的妈妈（一位老师）每天六点起床。
北京、上海、广州和深圳是一线城市。
他跑完了42.195公里的马拉松。
“真的吗？！”她惊讶地问。
學習繁體字需要時間和耐心。
天下没有不散的筵席。""",
    "ja": """\
年老いた灯台守は一晩中眠れなかった。
「何でもないよ」と彼は言った。「ただの海の音だ……」
2024年5月3日、牛乳の値段は250円でした。
明日の朝8時30分に東京駅で会いましょう。
このカメラはとても使いやすいです！
彼女はコーヒーとケーキを注文した。
気温は-5℃まで下がった。
詳しくはhttps://www.example.jp/をご覧ください。
『源氏物語』は世界最古の長編小説の一つと言われている。
ＡＢＣ商事の売上は12.5％増加した。
パソコンのＣＰＵが壊れてしまった。
お母さん、今日の晩ご飯は何？
私は猫が好きですが、犬も好きです。
サーバーのメンテナンスは午後３時からです。
彼は「行かない」と言い張った。""",
    "th": """\
คนเฝ้าประภาคารแก่ไม่ได้นอนทั้งคืน
เมื่อวันที่ 3 พฤษภาคม 2567 นมราคา 45.50 บาท
พรุ่งนี้เราจะไปเที่ยวเชียงใหม่กันไหม?
"ไม่มีอะไรหรอก" เขาพูด "แค่เสียงทะเล..."
อาหารร้านนี้อร่อยมากๆ แต่บริการช้า
เขาอายุ ๒๕ ปี และทำงานที่กรุงเทพฯ
ดูรายละเอียดได้ที่ https://www.example.co.th/page
ฝนตกหนักเมื่อคืนนี้ ถนนจึงมีน้ำท่วม
เธอชอบดื่มกาแฟ/ชา โดยไม่ใส่น้ำตาล
ภาพยนตร์เรื่องนี้น่าเบื่อเกินไป""",
    "ko": """\
늙은 등대지기는 밤새 잠을 이루지 못했다.
"아무것도 아니야," 그가 말했다. "그냥 바다일 뿐이야..."
2024년 5월 3일에 우유 가격은 2,500원이었습니다.
내일 아침 8시 30분에 서울역에서 만나요.
이 영화는 정말 재미있어서 세 번이나 봤어요!
기온이 영하 5°C까지 떨어졌다.
자세한 내용은 https://www.example.kr/에서 확인하세요.
그녀는 ‘가지 마’라고 속삭였다.
김 교수(서울대)는 AI-기반 번역을 연구한다.
커피와 차 중에서 무엇을 드릴까요?""",
    "fr": """\
Le vieux gardien du phare n'avait pas dormi de la nuit.
« Ce n'est rien, dit-il à Mme O'Neil, ce n'est que la mer… »
Aujourd'hui, le 3 mai 2024, le litre de lait coûte 1,29 € (+5 %).
Qu'est-ce que c'est ? Y a-t-il quelqu'un ?
L'après-midi, nous irons au rendez-vous à 16h30, c.-à-d. après l'école.
M. Dupont habite 17 bis, av. de la République, 75011 Paris.
Jusqu'à présent, il s'est peut-être trompé d'arrondissement.
Va-t'en ! Donne-le-moi, s'il te plaît.
Entr'acte, presqu'île et prud'homme s'écrivent ainsi.
Voir p. 12, etc. ; écrire à info@exemple.fr ou www.exemple.fr.
Il mesure 1,80m et pèse 75kg.
Dis-moi : « Où vas-tu ? » — « Là-bas ! »""",
    "es": """\
El viejo farero no había dormido en toda la noche.
—No es nada —dijo a la Sra. O'Neil—, sólo el mar…
¿Cómo estás? ¡Muy bien, gracias!
El 3 de mayo de 2024 un litro de leche costaba 1,29 € (aprox. un 5% más).
El niño comió piñas en EE.UU. y México D.F. el año pasado.
Ud. vive en la Av. Libertador, n.º 17, 2.º piso, ¿verdad?
«Ven conmigo», gritó ella, «o perderemos el tren».
Escriba a info@ejemplo.es o visite www.ejemplo.es/pagina.
Hacía -5°C en la sierra/montaña.
El partido acabó 2-1 a las 20:45 h.""",
    "it": """\
Il vecchio guardiano del faro non aveva dormito tutta la notte.
«Non è niente», disse alla sig.ra O'Neil, «è solo il mare...»
L'altro giorno, il 3 maggio 2024, un litro di latte costava 1,29 €.
C'è un po' d'acqua nell'armadio dell'ufficio?
Quest'anno gli anni '80 sono tornati di moda.
Il dott. Rossi abita in via Garibaldi, 17/b, 20121 Milano.
Dov'è l'uscita? Dev'essere laggiù!
Scrivi a info@esempio.it, ecc.
Vent'anni fa pesava 75kg.
Un po' di tutto: pane, vino e dell'olio.""",
    "pt": """\
O velho faroleiro não tinha dormido a noite toda.
— Não é nada — disse ele à Sra. O'Neil —, é só o mar…
Em 3 de maio de 2024, um litro de leite custava R$ 4,99 (5% a mais).
Você quer café d'água-doce ou guarda-chuva?
O Dr. Silva mora na Av. Paulista, nº 1700, apto. 12.
Dir-se-ia que ninguém o ouviu; fê-lo entrar às 8h30.
Os EUA e o Brasil empataram por 2 x 2.
Visite www.exemplo.pt ou escreva para info@exemplo.pt.""",
    "nl": """\
De oude vuurtorenwachter had de hele nacht niet geslapen.
‘Het is niets,’ zei hij tegen mevr. O'Neil, ‘alleen de zee…’
's Avonds om 20.30 uur kost een biertje € 2,50.
Zo'n auto's-en-fietsen-plan kost ca. 5% meer, d.w.z. niks.
Dhr. Jansen woont aan de Dorpsstr. 17-a, 1012 AB Amsterdam.
Ik heb m'n foto's en video's bij m'n opa's huis gelaten.
Zie blz. 12 e.v. of mail info@voorbeeld.nl.
In de jaren '80 woog hij 75kg.""",
    "sv": """\
Den gamle fyrvaktaren hade inte sovit på hela natten.
”Det är ingenting”, sade han till fru O'Neil, ”bara havet …”
Den 3 maj 2024 kostade mjölken 12:50 kr, dvs. ca 5 % mer.
Vi ses t.ex. kl. 8.30 på Centralstationen, bl.a. med Åsa.
Läs mer på www.exempel.se eller mejla info@exempel.se.
Bilens färg är blå/grön enligt S:t Eriks katalog.
Temperaturen sjönk till -5°C.
Är du säker? Ja, det är klart!""",
    "pl": """\
Stary latarnik nie spał przez całą noc.
„To nic — powiedział do pani O'Neil — to tylko morze…”
3 maja 2024 r. litr mleka kosztował 4,99 zł, tj. o 5% więcej.
Spotkajmy się np. o godz. 8:30 na ul. Marszałkowskiej 17/5.
Prof. Kowalski i in. sądzili inaczej, m.in. z powodu braku danych.
Żółw, źdźbło i łódź to trudne słowa.
Napisz na info@przyklad.pl lub wejdź na www.przyklad.pl.
Polsko-niemiecki zespół wygrał 2:1.""",
    "tr": """\
Yaşlı fener bekçisi bütün gece uyumamıştı.
"Bir şey değil," dedi O'Neil Hanım'a, "sadece deniz..."
3 Mayıs 2024'te bir litre süt 25,50 TL'ydi, yani %5 daha pahalı.
İstanbul'da saat 08.30'da buluşalım mı?
Prof. Dr. Yılmaz vb. araştırmacılar Ankara'ya gitti.
Işık, ılık ve İzmir: ı/i farkı önemlidir.
Ayrıntılar www.ornek.com.tr adresinde.
Türkiye'nin nüfusu 85 milyondur.""",
    "el": """\
Ο γέρος φαροφύλακας δεν είχε κοιμηθεί όλη τη νύχτα.
«Δεν είναι τίποτα», είπε στην κα. Ο'Νιλ, «μόνο η θάλασσα…»
Στις 3 Μαΐου 2024 το γάλα κόστιζε 1,29 €, δηλ. 5% παραπάνω.
Πού πας; Θα 'ρθω κι εγώ!
Ο ΟΔΥΣΣΕΑΣ ΓΥΡΙΣΕ ΣΤΗΝ ΙΘΑΚΗ π.χ. μετά από δέκα χρόνια.
Ο κ. Παπαδόπουλος μένει στην οδό Ερμού 17.
Γράψτε στο info@paradeigma.gr.""",
    "uk": """\
Старий доглядач маяка не спав усю ніч.
«Нічого, — сказав він, — це тільки море…»
3 травня 2024 р. літр молока коштував 45,50 грн, тобто на 5% більше.
П'ять комп'ютерів і м'яч лежали під'їзді.
Ґанок, їжак і єдність — гарні слова.
Проф. Шевченко живе на вул. Хрещатик, 17.
Дивіться www.pryklad.ua або пишіть на info@pryklad.ua.""",
    "fi": """\
Vanha majakanvartija ei ollut nukkunut koko yönä.
”Ei se mitään”, hän sanoi rouva O'Neilille, ”se on vain meri…”
3.5.2024 litra maitoa maksoi 1,29 €, ts. n. 5 % enemmän.
EU:n ja USA:n välinen sopimus tehtiin klo 8.30.
Tavataan esim. linja-autoasemalla, vai mitä?
Katso www.esimerkki.fi tai kirjoita info@esimerkki.fi.""",
    "cs": """\
Starý strážce majáku celou noc nespal.
„To nic,“ řekl paní O'Neilové, „to je jen moře…“
Dne 3. května 2024 stál litr mléka 25,50 Kč, tj. o 5 % více.
Sejdeme se např. v 8:30 na nádraží, atd.
Příliš žluťoučký kůň úpěl ďábelské ódy.
Prof. Novák bydlí v ul. Karlova 17/5.""",
    "ar": """\
لم ينم حارس المنارة العجوز طوال الليل.
قال: «لا شيء، إنه البحر فقط…»
في ٣ مايو ٢٠٢٤ كان سعر الحليب ١٢٫٥٠ ريالًا، أي بزيادة 5%.
هل أنت بخير؟ نعم، شكرًا!
زوروا www.example.sa للمزيد.""",
    "hi": """\
बूढ़ा प्रकाशस्तंभ रक्षक सारी रात नहीं सोया।
"कुछ नहीं," उसने कहा, "बस समुद्र है..."
3 मई 2024 को दूध ₹60 प्रति लीटर था, यानी 5% ज़्यादा।
क्या आप ठीक हैं? हाँ, धन्यवाद!
विवरण www.example.in पर देखें।""",
    "he": """\
שומר המגדלור הזקן לא ישן כל הלילה.
"זה שום דבר," אמר לגב' אוניל, "רק הים..."
ב-3 במאי 2024 ליטר חלב עלה 7.50 ₪, כלומר 5% יותר.
צה"ל וארה"ב הם ראשי תיבות; מה שלומך?""",
}
SENTENCES = {language: text.split("\n") for language, text in SENTENCES.items()}
