/* Decode clips and drop the pictures: what libavcodec alone costs. Compiled and run by loading_yardsticks.py.
 *
 * decode_floor LIST SELECT NUM_FRAMES KEEP
 *   LIST        a file with a line `path offset size frames` for each clip: an mp4 at these bytes of a file, without B frames
 *   SELECT      all: every frame; even: NUM_FRAMES evenly spaced ones; crop: NUM_FRAMES neighbours at random;
 *               each with the frames before it in its group, and no others
 *   KEEP        1: one decoder for all clips whose headers are the same; 0: each clip opens its own
 * Goes through the list for ever, and writes a byte for every 64 clips.
 */
#include <fcntl.h>
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct { const uint8_t *data; int64_t size, at; int frames; } Clip;

static void stop(const char *what) { fprintf(stderr, "decode_floor: %s\n", what); exit(1); }

static int read_some(void *opaque, uint8_t *into, int wanted) {
    Clip *clip = opaque;
    int64_t left = clip->size - clip->at;
    int count = wanted < left ? wanted : (int)left;
    if (count <= 0) return AVERROR_EOF;
    memcpy(into, clip->data + clip->at, count);
    clip->at += count;
    return count;
}

static int64_t seek_to(void *opaque, int64_t offset, int whence) {
    Clip *clip = opaque;
    if (whence == AVSEEK_SIZE) return clip->size;
    clip->at = whence == SEEK_CUR ? clip->at + offset : whence == SEEK_END ? clip->size + offset : offset;
    return clip->at;
}

static const uint8_t *map_file(const char *path) {
    static char known[4096];
    static const uint8_t *data;
    if (data && !strcmp(known, path)) return data;
    int file = open(path, O_RDONLY);
    struct stat about;
    if (file < 0 || fstat(file, &about)) stop(path);
    data = mmap(NULL, about.st_size, PROT_READ, MAP_SHARED, file, 0);
    if (data == MAP_FAILED) stop("mmap");
    close(file);
    strcpy(known, path);
    return data;
}

/* Mark the frames that are asked for: evenly spaced as by `wanted_frames` of loading_yardsticks.py. */
static void mark_wanted(char *wanted, int frames, const char *select, int num_frames) {
    int first = 0, stride = 1, count = frames;
    if (!strcmp(select, "even")) {
        count = num_frames;
        stride = (frames - 1) / (count - 1);
        first = (frames - 1 - (count - 1) * stride) / 2;
    } else if (!strcmp(select, "crop")) {
        count = num_frames;
        first = rand() % (frames - count + 1);
    }
    memset(wanted, 0, frames);
    for (int i = 0; i < count; i++) wanted[first + i * stride] = 1;
}

static AVCodecContext *kept;
static AVCodecParameters *kept_parameters;

static AVCodecContext *decoder_for(const AVCodecParameters *parameters, int keep) {
    if (keep && kept && kept_parameters->extradata_size == parameters->extradata_size &&
        !memcmp(kept_parameters->extradata, parameters->extradata, parameters->extradata_size)) {
        avcodec_flush_buffers(kept);
        return kept;
    }
    if (kept) avcodec_free_context(&kept);
    const AVCodec *codec = avcodec_find_decoder(parameters->codec_id);
    kept = avcodec_alloc_context3(codec);
    kept->thread_count = 1;
    if (avcodec_parameters_to_context(kept, parameters) < 0 || avcodec_open2(kept, codec, NULL) < 0) stop("no decoder");
    if (!kept_parameters) kept_parameters = avcodec_parameters_alloc();
    avcodec_parameters_copy(kept_parameters, parameters);
    return kept;
}

/* Decode the frames that are asked for, and those before them in their groups. */
static void decode(Clip *clip, const char *select, int num_frames, int keep) {
    static AVFrame *frame;
    static AVPacket *packet;
    if (!frame) frame = av_frame_alloc(), packet = av_packet_alloc();
    clip->at = 0;
    AVIOContext *io = avio_alloc_context(av_malloc(32768), 32768, 0, clip, read_some, NULL, seek_to);
    AVFormatContext *file = avformat_alloc_context();
    file->pb = io;
    if (avformat_open_input(&file, "", av_find_input_format("mov"), NULL) < 0) stop("not an mp4");
    AVStream *stream = file->streams[0];
    AVCodecContext *decoder = decoder_for(stream->codecpar, keep);

    char needed[clip->frames];
    mark_wanted(needed, clip->frames, select, num_frames);
    int first = 0, last = clip->frames - 1, left = 0;
    while (!needed[last]) last--;
    for (int i = last; i > 0; i--)
        if (needed[i] && !(avformat_index_get_entry(stream, i)->flags & AVINDEX_KEYFRAME)) needed[i - 1] = 1;
    while (!needed[first]) first++;
    for (int i = first; i <= last; i++) left += needed[i];

    int64_t step = stream->duration / clip->frames;
    if (first && av_seek_frame(file, 0, first * step, AVSEEK_FLAG_BACKWARD) < 0) stop("cannot seek");
    for (int ended = 0; left && !ended;) {
        ended = av_read_frame(file, packet) < 0 || packet->pts > last * step;
        if (ended || needed[packet->pts / step]) {
            if (avcodec_send_packet(decoder, ended ? NULL : packet) < 0) stop("cannot decode");
            while (avcodec_receive_frame(decoder, frame) >= 0) left--;
        }
        av_packet_unref(packet);
    }
    if (left) stop("frames are missing");
    avformat_close_input(&file);
    av_freep(&io->buffer);
    avio_context_free(&io);
}

int main(int count, char **words) {
    if (count != 5) stop("expected LIST SELECT NUM_FRAMES KEEP");
    FILE *list = fopen(words[1], "r");
    if (!list) stop(words[1]);
    int num_frames = atoi(words[3]), keep = atoi(words[4]), num_clips = 0;
    Clip *clips = NULL;
    char path[4096];
    long long offset, size;
    int frames;
    while (fscanf(list, "%4095s %lld %lld %d", path, &offset, &size, &frames) == 4) {
        clips = realloc(clips, sizeof(Clip) * (num_clips + 1));
        clips[num_clips++] = (Clip){map_file(path) + offset, size, 0, frames};
    }
    if (!num_clips) stop("no clips in the list");
    for (long long done = 0;;) {
        decode(&clips[done % num_clips], words[2], num_frames, keep);
        if (++done % 64 == 0 && write(1, "+", 1) != 1) return 0;
    }
}
