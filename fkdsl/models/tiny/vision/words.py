"""The words on rendered images, mostly; else letters are drawn one by one."""

TEXT = """
able acid acre also apple arch arm army atlas autumn away axe baby back badge bag ball band bank
barn basket bath beach bean bear bed bee beer bell belt bench bike bird blue boat body bone book
boot bottle bowl box boy brain brass bread brick bridge broom brown brush bucket bus bush butter
button cab cabin cake camel camera camp candle candy cane cap car card cargo carrot castle cat
chair chalk cheese cherry chess chest chief child church circus city clay clock cloud clover
coal coat coffee coin comb cook copper corn cotton cow crab crane cream crown cup dance dawn
deer desk diary dinner dish dock doctor dog doll door dragon dream dress drum duck dust eagle
ear earth east echo egg elbow engine exit eye fabric face fair farm feast fence field film fire
fish flag flame flute fog food forest fork fox frame friend frog fruit garden gate ghost gift
girl glass globe glove goat gold goose grain grape grass green guard guest guitar hair hall
hammer hand harbor hat hawk heart hill holiday honey horse hotel house ice idea ink iron island
ivory jacket jam jar jazz jelly jet jewel juice jungle key king kitchen kite knife knot lace
ladder lake lamp land lark lawn leaf lemon letter library light lion lock magic mail maple map
market mask meadow meal metal milk mill mirror money moon moth mouse museum music nail needle
nest net night north nose novel nurse oak oasis ocean office oil olive onion open orange oven
owl ox page paint palace paper park parrot path pear pen pencil pepper piano pie pig pillow pine
pipe plane plant plate plum pocket poem pond pony post pot press prince pump quail queen quick
quiet quilt rabbit radio rain ranch red rice ring river road robin rock roof room root rope rose
ruby rug sail salad sale salt sand school sea seed shadow sheep shelf ship shirt shoe shop silk
silver singer snow soap sock soup south spoon spring square stair star station stone store storm
street sugar summer sun swan table tailor tea temple tent tiger toast tomato tower town toy
train tree trumpet turtle uncle valley van vase velvet village violin voice wagon wall walnut
water wave wax west whale wheat wheel wind window wine winter wolf wood wool yard year yellow
zebra zero zone
"""
WORDS = tuple(TEXT.split())
