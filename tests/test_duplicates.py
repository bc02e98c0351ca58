"""Facts about near duplicates and leaks in scripts without spaces between words, and that other scripts are read word by word."""

import re
import unicodedata

import pytest

from workbench.data import decontamination, duplicates


def ask(question, answer="Yes."):
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


# The same two questions about the capitals of France and Japan, and a text to summarise with one of its words replaced, in scripts
# without spaces between words
SPACELESS = {
    "Chinese": (
        "法国的首都是哪座城市？",
        "日本的首都是哪座城市？",
        "请用一句话概括下面的文字：河边的老磨坊曾经为九个村庄磨面，直到一年春天洪水冲走了水轮。"
        "从那以后再也没有人来修理它，如今只有猫头鹰和蝙蝠住在里面。",
        ("冲走了", "卷走了"),
        ("一场洪水让磨坊停了下来。", "一场洪水让磨坊停了下来"),
    ),
    "Japanese": (
        "フランスの首都はどの都市ですか。",
        "日本の首都はどの都市ですか。",
        "次の文章を一文で要約してください。川辺の古い水車小屋は、ある春の洪水で水車を失うまで、九つの村のために粉を挽いていました。"
        "それ以来、誰も修理に来ず、今ではフクロウとコウモリだけが住んでいます。",
        ("失う", "流される"),
        ("洪水で水車小屋は止まりました。", "洪水で水車小屋は止まりました"),
    ),
    "Thai": (
        "เมืองหลวงของประเทศฝรั่งเศสคือเมืองอะไร",
        "เมืองหลวงของประเทศญี่ปุ่นคือเมืองอะไร",
        "ช่วยสรุปข้อความต่อไปนี้ให้เหลือหนึ่งประโยค โรงสีเก่าริมแม่น้ำเคยโม่แป้งให้เก้าหมู่บ้าน จนกระทั่งน้ำท่วมพัดกังหันน้ำหายไป"
        "ในฤดูใบไม้ผลิปีหนึ่ง ตั้งแต่นั้นมาไม่มีใครมาซ่อมแซม ตอนนี้มีเพียงนกฮูกและค้างคาวอาศัยอยู่",
        ("มีเพียง", "มีแต่"),
        ("น้ำท่วมทำให้โรงสีหยุดทำงาน", "น้ำท่วม ทำให้โรงสีหยุดทำงาน"),
    ),
    "Lao": (
        "ເມືອງຫຼວງຂອງປະເທດຝຣັ່ງແມ່ນເມືອງໃດ",
        "ເມືອງຫຼວງຂອງປະເທດຍີ່ປຸ່ນແມ່ນເມືອງໃດ",
        "ຊ່ວຍສະຫຼຸບຂໍ້ຄວາມຕໍ່ໄປນີ້ໃຫ້ເຫຼືອໜຶ່ງປະໂຫຍກ ໂຮງສີເກົ່າແຄມແມ່ນ້ຳເຄີຍສີເຂົ້າໃຫ້ເກົ້າບ້ານ ຈົນກວ່ານ້ຳຖ້ວມພັດກົງຫັນນ້ຳໄປ "
        "ຕັ້ງແຕ່ນັ້ນມາບໍ່ມີໃຜມາສ້ອມແປງ ຕອນນີ້ມີແຕ່ນົກເຄົ້າແລະເຈຍອາໄສຢູ່",
        ("ມີແຕ່", "ມີພຽງ"),
        ("ນ້ຳຖ້ວມເຮັດໃຫ້ໂຮງສີຢຸດ", "ນ້ຳຖ້ວມ ເຮັດໃຫ້ໂຮງສີຢຸດ"),
    ),
    "Khmer": (
        "តើរដ្ឋធានីនៃប្រទេសបារាំងគឺជាទីក្រុងអ្វី?",
        "តើរដ្ឋធានីនៃប្រទេសជប៉ុនគឺជាទីក្រុងអ្វី?",
        "សូមសង្ខេបអត្ថបទខាងក្រោមជាប្រយោគមួយ។ រោងម៉ាស៊ីនកិនស្រូវចាស់នៅមាត់ទន្លេធ្លាប់កិនស្រូវឱ្យភូមិចំនួនប្រាំបួន "
        "រហូតដល់ទឹកជំនន់បានបោកបក់កង់ទឹកបាត់ទៅ។ តាំងពីពេលនោះមកគ្មាននរណាមកជួសជុលវាទេ។",
        ("គ្មាននរណា", "គ្មានអ្នកណា"),
        ("ទឹកជំនន់បានធ្វើឱ្យរោងម៉ាស៊ីនឈប់ដំណើរការ។", "ទឹកជំនន់បានធ្វើឱ្យរោងម៉ាស៊ីនឈប់ដំណើរការ"),
    ),
    "Burmese": (
        "ပြင်သစ်နိုင်ငံ၏ မြို့တော်သည် ဘယ်မြို့လဲ။",
        "ဂျပန်နိုင်ငံ၏ မြို့တော်သည် ဘယ်မြို့လဲ။",
        "အောက်ပါစာပိုဒ်ကို ဝါကျတစ်ကြောင်းတည်းဖြင့် အကျဉ်းချုပ်ပေးပါ။ မြစ်ကမ်းဘေးက ရေစက်အိုကြီးသည် ရေကြီးမှုကြောင့် ပျက်စီးသွားသည်အထိ "
        "ရွာကိုးရွာအတွက် စပါးကြိတ်ပေးခဲ့သည်။ ထိုအချိန်မှစ၍ မည်သူမျှ ပြင်ဆင်ရန် မလာတော့ပါ။",
        ("မလာတော့ပါ", "မလာခဲ့ပါ"),
        ("ရေကြီးမှုကြောင့် ရေစက် ရပ်သွားသည်။", "ရေကြီးမှုကြောင့် ရေစက်ရပ်သွားသည်"),
    ),
}


@pytest.mark.parametrize("language", SPACELESS)
def test_scripts_without_spaces_are_compared_by_characters(language):
    france, japan, text, (word, other), (answer, nearly) = SPACELESS[language]
    near = text.replace(word, other)
    assert near != text
    assert decontamination.find_leaks([ask(france, "?")], [ask(japan, "?")]) == []
    assert decontamination.find_leaks([ask(france)], [ask(france.rstrip("？。?။") + " ", "?")]) == [
        decontamination.Leak(0, 0, 1.0)
    ]
    [leak] = decontamination.find_leaks([ask(france), ask(text, answer)], [ask(japan), ask(near, nearly)])
    assert (leak.train, leak.evaluation) == (1, 1) and 0.8 <= leak.similarity < 1
    assert decontamination.find_leaks([ask(text, answer)], [ask(near, japan)]) == []


def test_spaces_and_punctuation_do_not_hide_a_leak_in_a_script_without_spaces():
    for a, b in (
        ("你好，世界！", "你好 世界"),
        ("iPhone手机多少钱", "iPhone 手机 多少钱？"),
        ("ภาษาไทย\u200bยากไหม", "ภาษาไทยยากไหม"),
    ):
        assert decontamination.find_leaks([ask(a)], [ask(b)]) == [decontamination.Leak(0, 0, 1.0)]


def test_prompts_in_scripts_with_spaces_keep_their_words():
    for text in ("What is 2 + 3?", "Привет, мир", "안녕하세요 세계", "नमस्ते दुनिया", "مرحبا بالعالم", "C'est l'été…"):
        words = re.findall(r"\w+|[^\w\s.,;:!?'\"’“”]", unicodedata.normalize("NFKC", text).casefold())
        assert duplicates.normalise_words(text).split() == words == duplicates.split_words(" ".join(words))
