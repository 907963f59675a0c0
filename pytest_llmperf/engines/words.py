"""Common short English words: nearly every tokenizer has each of them, after a space, as one token."""

WORDS = tuple(
    """
    the and for are but not you all any can had her was one our out day get has him his how man new now
    old see two way who did its let put say she too use big end few men own red run set six sun ten war
    able also area army away back ball bank base bear bill body book both call card care case city club
    come cost dark data deal door down draw each east easy even ever face fact fall farm fast feel fill
    film find fine fire fish five food foot form four free full game girl give goal gold good grow hair
    half hall hand hard head hear help here high hold home hope hour idea inch join jump keep kind king
    know lady lake land last late lead left less life like line list live long look lose love made main
    make many mark mean meet mile milk mind miss moon more most move much must name near need next nice
    night nine none north noun only open over page pair part pass past path plan play poor pull push race
    rain read real rest rich ride ring rise road rock roll room rule safe sail salt same sand save seat
    seed seem self sell send ship shop show side sign sing size skin snow soft soil some song soon sort
    star stay step stop such sure swim tail take talk tall team tell term test than that them then they
    thin this thus time tiny told tone took tool town tree trip true turn type unit upon vary verb very
    view vote wait walk wall want warm wash wave wear week well went were west what when wide wife wild
    will wind wing wire wish with wood word work yard year your
    """.split()
)
