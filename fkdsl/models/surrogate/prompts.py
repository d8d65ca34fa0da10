"""What a model is asked to go on from when it is sampled for a surrogate, unless a corpus is given:
beginnings of texts of many kinds, and instructions for models with a chat template."""

from __future__ import annotations

OPENINGS = tuple(
    """\
The old man walked slowly along the shore and
She opened the letter and read:
It was the summer of
Once upon a time, in a small village,
He had never seen anything like it before.
When the rain stopped, the children
My grandmother used to tell me that
In the middle of the night, a loud noise
The train was late again, so
Nobody knew why the house on the hill
The sun was setting over the
I remember the first time I
After a long silence, he said
They had been friends since
The dog ran across the
We decided to go to the market to buy
The sea was calm and
Last week, the city council announced that
Scientists have discovered a new
The president said on Tuesday that
According to a recent study,
The company reported that its profits
The history of the city begins in
The river flows through
Photosynthesis is the process by which
A triangle has three sides and
The capital of the country is
Water boils at
The human heart is
In mathematics, a prime number is
The word comes from the Latin
The population of the town was
Computers store information as
The main cause of the war was
Birds are animals that
The weather today is
The best way to learn a language is
One of the most important things in life is
There are many reasons why people
In conclusion,
However, it is also important to note that
For example,
I think that the film was
The food was delicious, but the service
This book is about
The hotel is located near
The movie tells the story of
I love this product because
Dear Sir or Madam,
Dear Anna, thank you for your letter. I
Hi everyone! Just wanted to say
Subject: Meeting on Monday
Please find attached the
Thank you for your message. I will
Best regards,
"Where are you going?" she asked.
"I don't know," said Tom. "Maybe we should
"Good morning," he said, "my name is
A: Hello, how can I help you?
Q: What is the largest planet in the solar system?
Q: Who wrote the play? A:
Teacher: Can anyone tell me the answer? Student:
Customer: I would like to return this item. Agent:
Shopping list: milk, eggs,
Things to do today:
1. Preheat the oven to 350 degrees. 2.
Ingredients: 2 cups of flour, 1 teaspoon of
Here are three tips for a better night's sleep: 1.
- apples\\n- oranges\\n-
Red, green, blue,
Monday, Tuesday,
January 12, 2021:
The meeting will take place on 14 March
Date: 2023-05-17\\n
The show starts at 7:30 p.m. and
Born on July 4, 1952, in
Name: John Smith\\nAge: 34\\nCity:
Total: $24.50\\nTax:
The price rose from 120 to
12 + 7 = 19\\n15 + 8 =
Let x = 5. Then 2x + 3 =
The answer is
Yes, because
No, I do not think that
True or false:
{"name": "Alice", "age": 30, "city":
{"title": "The River", "year": 1999, "tags": [
[{"id": 1, "price": 9.99, "in_stock": true},
{"error": false, "items": [
{"type": "object", "properties": {
SELECT name, age FROM users WHERE
SELECT COUNT(*) FROM orders GROUP BY
CREATE TABLE students (id INTEGER PRIMARY KEY,
INSERT INTO products (name, price) VALUES
def add(a, b):\\n    return
for i in range(10):\\n
import os\\nimport sys\\n\\ndef main():
class Node:\\n    def __init__(self,
function greet(name) {\\n
public static void main(String[] args) {
#include <stdio.h>\\n\\nint main() {
<html>\\n<head>\\n<title>
<p>Welcome to our website.
# Introduction\\n\\n
## Summary\\n\\n
| Name | Age | City |\\n|------|-----|------|\\n|
https://www.
Phone: +1 555
user@example.com
Shall I compare thee to a summer's day?\\n
Roses are red,\\n
The moon is bright tonight,\\n
O wild west wind,
Breaking news:
Abstract. In this paper we
Chapter 1\\n\\n
Warning: do not
Step 1: Open the box.\\nStep 2:
Translate to French: good morning ->
Positive or negative? "I hated every minute of it." ->
cat, dog, horse,
Paris, London,
Mr. and Mrs. Brown
The patient was admitted with
The court held that
The team won the game
In this tutorial, you will learn how to
""".splitlines()
)
INSTRUCTIONS = tuple(
    """\
Tell me a short story.
Write one sentence about the sea.
Write a poem about autumn.
Write a haiku about rain.
What is the capital of France?
Give me a list of five fruits.
Name three animals, separated by commas.
Explain what gravity is in one sentence.
What is 17 plus 25?
Give me a JSON object that describes a person.
Write JSON for a book with a title, an author and a year.
Write an SQL query that lists all customers from Berlin.
Write a Python function that reverses a string.
What is today's date? Answer as YYYY-MM-DD.
When did the second world war end?
Write a short dialogue between two friends.
Write an email to my boss about a day off.
Give me a recipe for pancakes.
Summarize: The meeting was long, and nothing was decided.
Is the sentence positive or negative? "I love this place."
Answer yes or no: is the earth round?
Translate into German: I am hungry.
Write a product description for a chair.
What should I do this weekend?
Give me three ideas for a birthday present.
Describe a cat.
Write a limerick.
Write a tweet about coffee.
Explain photosynthesis to a child.
Make a table of three countries and their capitals.
Who are you?
Hello!
Tell me a joke.
Write a slogan for a bakery.
Correct the grammar: She go to school yesterday.
Rewrite politely: Give me the report now.
List the days of the week.
Write a review of a restaurant.
What are the benefits of exercise?
How do I learn to play the guitar?
""".splitlines()
)

REQUESTS = (
    "A sentence about {}: ",
    'A sentence about {}: "',
    "Write one sentence about {}.\n",
    "A poem about {}, in short lines:\n",
    "A poem of four lines about {}.\n\n",
    "A haiku about {}:\n",
    "A short story about {}.\n\n",
    "My favorite thing about {} is",
    "Three facts about {}:\n1.",
    "What do you know about {}?\n",
    "Question: Why do people talk about {}?\nAnswer: ",
    "A post about {}: ",
    "Headlines about {}:\n",
    "Keywords for a text about {}: ",
    "Some words that have to do with {}:\n- ",
    "A joke about {}:\n",
    "A talk of two friends about {}.\nA:",
    "Dear friend, let me tell you about {}.",
    "A JSON record about {}:\n{{",
    "Notes on {}\n\n",
)
SUBJECTS = tuple(
    """\
mountains
the moon
winter
a cat
an old house
my grandfather
a birthday party
coffee
trains
friendship
a robot
the garden
money
a long journey
music
school
bread
a doctor
football
the city at night
""".splitlines()
)
EXAMPLES = tuple(
    """\
Products of two numbers:\\n3 * 4 = 12\\n5 * 6 = 30\\n
Dates, as YYYY-MM-DD:\\n1999-12-31\\n2014-02-07\\n
Opposites:\\nhot - cold\\nhigh - low\\n
English to French:\\nhouse = maison\\ncat = chat\\n
Cities: London, Madrid, Rome,
Names and ages:\\nAnna, 31\\nPeter, 28\\n
Table staff: name, role, salary\\n\\nQuestion: the names of all managers\\nSELECT name FROM staff WHERE role
Table cars: model, maker, year\\n\\nQuestion: the ten oldest cars\\nSELECT
Text: I loved it. Label: positive\\nText: It was too long. Label: negative\\nText: The acting was fine. Label:
User: Is the shop open today?\\nBot: Yes, until six.\\nUser: Do you sell shoes?\\nBot:
{"city": "Oslo", "people": 700000}\\n{"city": "Lima", "people": 10000000}\\n
Rhymes: cat, hat; night, light; tree,
Animals by letter:\\nA: ant\\nB: bear\\nC:
word, length\\nriver, 5\\nstone, 5\\n
Roll: 3\\nRoll: 6\\nRoll:
Write the number in words. 21: twenty-one. 35:
""".splitlines()  # noqa: E501
)


def openings() -> tuple[str, ...]:
    """The beginnings, with their line breaks: the lists above, and each request about each
    subject."""
    lines = tuple(line.replace("\\n", "\n") for line in OPENINGS + EXAMPLES)
    return lines + tuple(request.format(s) for request in REQUESTS for s in SUBJECTS)
