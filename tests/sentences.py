"""Short texts in Chinese, German and Russian, of a small grammar and by hand: food or weather."""

import random
from typing import NamedTuple

_SLOTS = {
    "zh": {
        "who": "小明 / 奶奶 / 老师 / 邻居 / 王先生 / 我的妹妹",
        "when": "昨天 / 今天早上 / 星期三 / 2024年5月3日 / 去年冬天",
        "where": "北京 / 河边 / 山上的小镇 / 学校 / 老城",
        "dish": "一碗牛肉面 / 一盘饺子 / 两块月饼 / 三碗豆腐汤 / 一条鱼",
        "taste": "真好吃！ / 有点咸…… / 又香又辣， / 不够甜； / 再来一碗！",
        "sky": "下了一场大雨 / 刮起了北风 / 下雪了 / 太阳很大 / 起了雾",
        "deed": "没有带伞 / 穿上了外套 / 在家里看《西游记》 / 出门散步"},
    "de": {
        "who": "Anna / der Nachbar / unsere Lehrerin / Herr Müller / meine Großmutter",
        "when": "Gestern / Am Mittwoch / Heute früh / Im Winter / Am 3. Mai 2024",
        "where": "in Zürich / am Fluss / im Dorf / in der Schule / auf dem Berg",
        "dish": "eine Kürbissuppe / zwei Knödel / ein Stück Apfelkuchen / Brot mit Käse / Fisch",
        "taste": "„Köstlich!“ / „Zu salzig …“ / „Schön süß.“ / „Noch ein Löffel?“",
        "sky": "regnete es / schneite es / wehte ein kalter Wind / schien die Sonne / lag Nebel",
        "deed": "blieb zu Hause / nahm einen Schirm mit / zog den Mantel an / ging spazieren"},
    "ru": {
        "who": "мальчик / сосед / дедушка / учитель / мой брат / Иван Петрович",
        "when": "Вчера / В среду / Сегодня утром / Зимой / 3 мая 2024 года",
        "where": "в Москве / у реки / в деревне / в школе / на горе",
        "dish": "борщ / пельмени / кусок пирога / гречневую кашу / блины с мёдом",
        "taste": "«Очень вкусно!» / «Солоно…» / «Мало сахара.» / «Ещё, пожалуйста!»",
        "sky": "шёл дождь / выпал снег / дул холодный ветер / светило солнце / стоял туман",
        "deed": "остался дома / взял зонт / надел пальто / пошёл гулять"}}
_TEMPLATES = {
    "zh": {"food": "{when}{who}在{where}吃了{dish}，说：“{taste}”",
           "weather": "{when}{where}{sky}，{who}{deed}。"},
    "de": {"food": "{when} aß {who} {where} {dish} und sagte: {taste}",
           "weather": "{when} {sky} {where}; {who} {deed}."},
    "ru": {"food": "{when} {who} {where} ел {dish} и сказал: {taste}",
           "weather": "{when} {where} {sky}, и {who} {deed}."}}
_BY_HAND = {
    "zh": "这让我明白了一个道理：慢慢走，也能到。她问：“你好吗？”\n他用GPT-1写了一首诗，共12行。\n",
    "de": "»Komm herein!«, rief sie. Wie geht's dir denn?\nDie Straße war lang – und ganz still.\n",
    "ru": "«Ёлка» стоит в лесу. — Кто там? — спросил он, и т. д.\nПоезд пришёл в 7 часов.\n"}


class Rows(NamedTuple):
    """A text, and what it is about."""

    texts: list[str]
    labels: list[str]


def rows(language: str, count: int, seed: int) -> Rows:
    """Sentences about food and weather in turn."""
    dice = random.Random(seed)
    slots = {name: values.split(" / ") for name, values in _SLOTS[language].items()}
    labels = [("food", "weather")[number % 2] for number in range(count)]
    texts = [_TEMPLATES[language][label].format(
        **{name: dice.choice(values) for name, values in slots.items()}) for label in labels]
    return Rows(texts, labels)


def text(language: str) -> str:
    """Paragraphs for a vocabulary and a language model."""
    sentences = rows(language, 300, seed=1).texts
    space = "" if language == "zh" else " "
    paragraphs = [space.join(sentences[start:start + 5]) for start in range(0, 300, 5)]
    return _BY_HAND[language] + "\n".join(paragraphs) + "\n"
